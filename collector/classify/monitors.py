"""Lists the user agents of health checks and monitors: programs that request a page every few seconds.

The list is the project's own and supplements the published crawler list. CHANNELS_VERSION covers this list: a change
here requires a new CHANNELS_VERSION.
"""

from __future__ import annotations

from typing import Final

# The expressions are case-sensitive, as in the published list. Any user agent that matches belongs to a robot.
MONITORS: Final = (
    # load balancers, clusters, proxies
    r"[Hh]ealth[-_ ]?[Cc]heck",
    r"ELB-HealthChecker",
    r"GoogleHC/",
    r"kube-probe",
    r"^Envoy/HC",
    r"HAProxy",
    r"Traefik/",
    r"Consul Health",
    r"Load Balancer Agent",
    r"[Hh]ealth Probe",
    r"Amazon CloudFront-Synthetics",
    r"CloudWatchSynthetics",
    r"AlwaysOn",  # Azure App Service
    r"[Rr]eadiness[-_ ]?[Pp]robe",
    r"[Ll]iveness[-_ ]?[Pp]robe",
    r"Cloudflare-Traffic-Manager",
    r"GoogleStackdriverMonitoring",
    # monitors that site operators run themselves
    r"Prometheus/",
    r"Blackbox[-_ ]Exporter",
    r"Telegraf/",
    r"Zabbix",
    r"check_http",  # Nagios and Icinga
    r"Nagios",
    r"Icinga",
    r"Uptime-?Kuma",
    r"^Monit/",
    r"Munin",
    r"PRTG Network Monitor",
    r"Sensu",
    r"SolarWinds",
    r"Gatus/",
    r"Statping",
    # services
    r"[Uu]ptime[-_ ]?[Rr]obot",
    r"Uptime\.com",
    r"Uptimia",
    r"[Uu]ptime[-_ ]?(?:[Mm]onitor|[Pp]robe|[Cc]heck|[Bb]ot)",
    r"[Pp]ingdom",
    r"StatusCake",
    r"Site24x7",
    r"Better ?(?:Uptime|Stack)",
    r"HetrixTools",
    r"Checkly",
    r"Datadog/?Synthetics",
    r"DynatraceSynthetic",
    r"New ?Relic(?:Synthetics|Pinger| Synthetics)",
    r"AppSignal",
    r"Freshping",
    r"GomezAgent",
    r"Catchpoint",
    r"Montastic",
    r"NodePing",
    r"Oh ?Dear",
    r"RigorMonitor",
    r"[Uu]pdown\.io",
    r"WebGazer",
    r"Wormly",
)
