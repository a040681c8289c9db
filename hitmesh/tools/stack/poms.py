"""Renders Maven's input: the settings, and a project for each folder of jars. Pure."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from hitmesh.tools.stack.versions import Artifact


def pom(artifact: Artifact) -> str:
    """Return a project that depends on the parts of an artifact and on nothing else."""
    left_out = "".join(f"<exclusion>{_coordinates(group, name)}</exclusion>" for group, name in artifact.left_out)
    exclusions = f"<exclusions>{left_out}</exclusions>" if left_out else ""
    parts = "".join(
        f"<dependency>{_coordinates(group, name)}<version>{version}</version>{exclusions}</dependency>"
        for group, name, version in artifact.parts
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"<groupId>hitmesh</groupId><artifactId>{artifact.folder.replace('/', '-')}</artifactId><version>1</version>"
        f"<packaging>pom</packaging>{_managed(artifact)}<dependencies>{parts}</dependencies></project>"
    )


def settings(empty: Path) -> str:
    """Return settings that restrict Maven to the central repository.

    Some projects name repositories that no longer exist. Without these settings, Maven would wait for the missing
    repositories. Mirrors in the user's own settings take precedence.
    """
    url = escape(empty.as_uri())
    mirror = f"<id>none</id><mirrorOf>*,!central</mirrorOf><url>{url}</url>"
    return f"<settings><mirrors><mirror>{mirror}</mirror></mirrors></settings>"


def _managed(artifact: Artifact) -> str:
    if artifact.managed is None:
        return ""
    group, name, version = artifact.managed
    how = f"{_coordinates(group, name)}<version>{version}</version><type>pom</type><scope>import</scope>"
    return f"<dependencyManagement><dependencies><dependency>{how}</dependency></dependencies></dependencyManagement>"


def _coordinates(group: str, name: str) -> str:
    return f"<groupId>{group}</groupId><artifactId>{name}</artifactId>"
