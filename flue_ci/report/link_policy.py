"""Where the links of a report's untrusted words may lead."""

from urllib.parse import urlsplit

from flue_ci.report.report import Report
from flue_ci.safety.markdown import LinkPolicy


def link_policy(report: Report, server_url: str = "") -> LinkPolicy:
    """The repository that the run was about, on its forge, and the hosts that the agent could reach; without a trigger
    only the latter."""
    trigger = report.trigger
    if trigger is None:
        return LinkPolicy(hosts=tuple(report.publish.links))
    if not server_url:
        page = urlsplit(trigger.run_url or trigger.url)
        server_url = f"{page.scheme}://{page.netloc}"
    return LinkPolicy(server_url=server_url, repository=trigger.repo, hosts=tuple(report.publish.links))
