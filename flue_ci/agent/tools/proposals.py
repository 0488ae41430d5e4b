"""The tools by which an agent proposes what is published: nothing happens before the run is over."""

from collections.abc import Mapping

from flue_ci.agent.tools.tool import ToolContext, ToolOutput, built_in_spec
from flue_ci.core.messages import JSON
from flue_ci.core.proposals import ChangeDescription
from flue_ci.core.text import one_line

TITLE_CHARS = 200


class DescribeChange:
    """Title and text for the commit or the pull request. The last call counts."""

    spec = built_in_spec("describe_change")
    writes = False

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """An error result when there is no title."""
        title, body = one_line(arguments["title"], TITLE_CHARS), arguments.get("body", "").strip()
        if not title:
            return ToolOutput(text="The title is empty.", note="refused", is_error=True)
        return ToolOutput(text="Noted.", note=title, proposal=ChangeDescription(title=title, body=body))
