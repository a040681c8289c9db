"""The kinds of findings about a mesh and about this machine. docs/doctor.md lists them.

Names in commands: `{home}` is ` --home DIR`, or empty for the default home. `{init}` is the option `--backend` with the
store URL, and the sizes that the doctor was given. All other names come from the finding.
"""

from __future__ import annotations

from typing import Final

from hitmesh.tools.doctor.findings import Kind, Severity

_START: Final = "hitmesh dev{home}"

NO_ANSWER: Final = Kind(
    "NO_ANSWER",
    Severity.ERROR,
    "A part of the mesh does not answer, or not before the check's deadline.",
    "Start or restart the part that is named, and run the doctor again.",
    _START,
    "kubectl get pods --all-namespaces --field-selector=status.phase!=Running",
)
STORE_NO_ANSWER: Final = Kind(
    "STORE_NO_ANSWER",
    Severity.ERROR,
    "Kafka, Cassandra or Druid does not answer, or not before the check's deadline.",
    "Start the server that is named, and run the doctor again. Services go on when the server answers.",
    "hitmesh stack up",
    "kubectl get pods --all-namespaces --field-selector=status.phase!=Running",
)
DOOR_CLOSED: Final = Kind(
    "DOOR_CLOSED",
    Severity.ERROR,
    "Envoy's public listener accepts no connection, so no hit and no question enters the mesh.",
    "Start the mesh, or give the right --endpoint.",
    _START,
    "kubectl rollout restart deployment/envoy",
)
DOOR_FAILS: Final = Kind(
    "DOOR_FAILS",
    Severity.ERROR,
    "Envoy accepts connections, but refuses every request.",
    "Wait until the load is lower; if Envoy still refuses requests, restart Envoy.",
    _START,
    "kubectl rollout restart deployment/envoy",
)
NOT_SERVING: Final = Kind(
    "NOT_SERVING",
    Severity.ERROR,
    "A service does not report itself as serving.",
    "Read the log of the service for the cause, and restart the service. `hitmesh dev` restarts a service that hangs.",
    _START,
    "kubectl logs --selector=app.kubernetes.io/component={part} --tail=50",
)
ENVOY_NOT_LIVE: Final = Kind(
    "ENVOY_NOT_LIVE",
    Severity.ERROR,
    "Envoy starts, stops or drains.",
    "Wait until Envoy has started, or restart Envoy.",
    _START,
    "kubectl rollout restart deployment/envoy",
)
NO_HEALTHY_INSTANCE: Final = Kind(
    "NO_HEALTHY_INSTANCE",
    Severity.ERROR,
    "Envoy sends no calls to a service, because no instance is healthy.",
    "Restart the service; its log names the cause.",
    _START,
    "kubectl logs --selector=app.kubernetes.io/component={part} --tail=50",
)
UNHEALTHY_INSTANCE: Final = Kind(
    "UNHEALTHY_INSTANCE",
    Severity.WARNING,
    "Envoy does not use an instance of a service. Other instances serve the calls.",
    "Restart the instance; its log names the cause.",
    _START,
    "kubectl logs --selector=app.kubernetes.io/component={part} --tail=50",
)
PROCESS_SILENT: Final = Kind(
    "PROCESS_SILENT",
    Severity.ERROR,
    "A process does not serve its metrics, so it has ended or hangs.",
    "Read the last lines of the process's log, and restart the process.",
    _START,
    "kubectl logs --selector=app.kubernetes.io/component={part} --tail=50",
)
MIXED_VERSIONS: Final = Kind(
    "MIXED_VERSIONS",
    Severity.WARNING,
    "The processes run different versions of hitmesh. That is right only while an upgrade is in progress.",
    "Finish the upgrade, or roll it back.",
    _START,
    "kubectl rollout status {workload}",
)
OTHER_VERSION: Final = Kind(
    "OTHER_VERSION",
    Severity.WARNING,
    "This command line has another version than the mesh.",
    "Use the command line of the mesh's version.",
    "hitmesh version",
)
OTHER_CONTRACT: Final = Kind(
    "OTHER_CONTRACT",
    Severity.WARNING,
    "The mesh serves other protos than this command line was built with.",
    "Use the command line of the mesh's version; fields that only one side has are ignored.",
    "hitmesh version",
)
STALLED: Final = Kind(
    "STALLED",
    Severity.ERROR,
    "A log partition makes no progress, so its newest hits are missing in reports.",
    "Restart the processor that holds the partition; the cause is in its log.",
    _START,
    "kubectl rollout restart statefulset/processor",
)
DELAYED: Final = Kind(
    "DELAYED",
    Severity.WARNING,
    "Reports are older than they should be.",
    "Look again in a minute. If the lag grows, add processors, or see which store is slow in the processor's metrics.",
    "hitmesh freshness{home}",
    "kubectl get hpa",
)
LOG_TIME_AHEAD: Final = Kind(
    "LOG_TIME_AHEAD",
    Severity.ERROR,
    "The log time of a partition is in the future, so visits wait for settlement.",
    "Correct the clock of the broker or machine that wrote the log, and wait until the time has come.",
    "hitmesh freshness{home}",
)
CLOCK_SKEW: Final = Kind(
    "CLOCK_SKEW",
    Severity.ERROR,
    "Two clocks differ by too much. Hits get wrong times, and keys and tokens end early or late.",
    "Let a time service (NTP) correct the clocks of both machines.",
    "chronyc tracking",
)
CERTIFICATE_ENDED: Final = Kind(
    "CERTIFICATE_ENDED",
    Severity.ERROR,
    "A certificate is not valid now.",
    "Renew the certificate in the file, in a directory of `hitmesh certs` by `hitmesh certs rotate DIR`. Services "
    "read the new file.",
    "openssl x509 -noout -subject -dates -in {file}",
    "kubectl get secrets",
)
CERTIFICATE_ENDS: Final = Kind(
    "CERTIFICATE_ENDS",
    Severity.WARNING,
    "A certificate expires soon.",
    "Renew the certificate in the file, in a directory of `hitmesh certs` by `hitmesh certs rotate DIR`. Services "
    "read the new file.",
    "openssl x509 -noout -subject -dates -in {file}",
    "kubectl get secrets",
)
DOOR_CERTIFICATE_ENDED: Final = Kind(
    "DOOR_CERTIFICATE_ENDED",
    Severity.ERROR,
    "The front door's certificate is not valid now, so clients refuse the front door.",
    "Renew the certificate where the connections' TLS ends: at Envoy, or at the load balancer before Envoy.",
    "openssl s_client -connect {address}",
)
DOOR_CERTIFICATE_ENDS: Final = Kind(
    "DOOR_CERTIFICATE_ENDS",
    Severity.WARNING,
    "The front door's certificate expires soon.",
    "Renew the certificate where the connections' TLS ends: at Envoy, or at the load balancer before Envoy.",
    "openssl s_client -connect {address}",
)
CERTIFICATE_UNREADABLE: Final = Kind(
    "CERTIFICATE_UNREADABLE",
    Severity.ERROR,
    "A setting names a certificate that cannot be read.",
    "Correct the setting, or make the file readable.",
    "hitmesh config show --origin",
)
DISK_FULL: Final = Kind(
    "DISK_FULL",
    Severity.ERROR,
    "A disk has less room than the next segments and snapshots may take. On a full disk, hits are refused.",
    "Delete other files, or move the data to a larger disk.",
    "du -xh --max-depth=2 {path}",
    "kubectl get persistentvolumeclaims",
)
DISK_LOW: Final = Kind(
    "DISK_LOW",
    Severity.WARNING,
    "A disk is nearly full.",
    "Delete other files, or move the data to a larger disk, before the disk is full.",
    "du -xh --max-depth=2 {path}",
    "kubectl get persistentvolumeclaims",
)
FILE_DAMAGED: Final = Kind(
    "FILE_DAMAGED",
    Severity.ERROR,
    "A file of the embedded stores is missing or cannot be read.",
    "Stop the mesh, restore the data directory from a back-up, and start the mesh.",
    _START,
)
FILE_LOCKED: Final = Kind(
    "FILE_LOCKED",
    Severity.WARNING,
    "A file of the embedded stores was locked for seconds, so the doctor could not read the file.",
    "Run the check again. If the file stays locked, end the other program that has the file open.",
    "hitmesh doctor --check files{home}",
)
FORMAT_NEWER: Final = Kind(
    "FORMAT_NEWER",
    Severity.ERROR,
    "A stored format is newer than this version of hitmesh, which cannot read it.",
    "Install the newer version again.",
    "hitmesh version",
)
FORMAT_OLDER: Final = Kind(
    "FORMAT_OLDER",
    Severity.WARNING,
    "A stored format is older than this version of hitmesh writes, so the mesh runs an older version.",
    "Restart the mesh with this version, which migrates the files.",
    _START,
)
CANARY_REFUSED: Final = Kind(
    "CANARY_REFUSED",
    Severity.ERROR,
    "The canary's site or key cannot be made.",
    "Give an operator's key (HITMESH_OPERATOR_KEY_FILE) and the operators' listener (HITMESH_OPERATOR_ENDPOINT).",
    "hitmesh merchants list{home}",
)
CANARY_NOT_ACKNOWLEDGED: Final = Kind(
    "CANARY_NOT_ACKNOWLEDGED",
    Severity.ERROR,
    "The canary hit is not acknowledged, so merchants' hits are not acknowledged either.",
    "Look at the collector and at the log's store: the check of services and of topics name the part.",
    "hitmesh freshness{home}",
    "kubectl logs --selector=app.kubernetes.io/component=collector --tail=50",
)
CANARY_NOT_REPORTED: Final = Kind(
    "CANARY_NOT_REPORTED",
    Severity.ERROR,
    "The canary hit is acknowledged, but no report shows it in time.",
    "The hit is safe in the log. Find where it stands with the command, and restart the processor if it stands still.",
    "hitmesh trace {hit_id} --site {site}{home}",
    "kubectl logs --selector=app.kubernetes.io/component=processor --tail=50",
)
CANARY_MISCOUNTED: Final = Kind(
    "CANARY_MISCOUNTED",
    Severity.ERROR,
    "Reports claim to be complete, but do not count the canary hit exactly once.",
    "Compare stores and ledger; the command shows how the hit was judged.",
    "hitmesh trace {hit_id} --site {site}{home}",
)
LEDGER_IMBALANCE: Final = Kind(
    "LEDGER_IMBALANCE",
    Severity.ERROR,
    "The ledger of a site does not balance: hits are missing or counted twice.",
    "Compare the stored days with the ledger, and run the repair plans that the command prints.",
    "hitmesh reprocess check --site {site}{home}",
)
HITS_UNREAD: Final = Kind(
    "HITS_UNREAD",
    Severity.ERROR,
    "The processor has not read acknowledged hits for too long.",
    "Restart the processor; its log names the store for which it waits.",
    "hitmesh ledger --site {site}{home}",
    "kubectl rollout restart statefulset/processor",
)
DAY_DAMAGED: Final = Kind(
    "DAY_DAMAGED",
    Severity.ERROR,
    "The stored values of a settled day do not agree with the ledger.",
    "Plan the repair, run and publish the plan.",
    "hitmesh reprocess plan --kind repair --site {site} --since {utc_date} --until {utc_date}{home}",
)
DAY_LOST: Final = Kind(
    "DAY_LOST",
    Severity.ERROR,
    "Raw hits of a settled day are lost. The day's reports keep their numbers.",
    "Restore the raw records from a back-up, then check again.",
    "hitmesh reprocess check --site {site} --since {utc_date} --until {utc_date}{home}",
)
