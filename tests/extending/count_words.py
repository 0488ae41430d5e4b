"""A tool that counts the words of a file in the repository."""

from flue_ci.agent.tools.tool import ToolOutput, tool_spec


class CountWords:
    spec = tool_spec("count_words", "Count the words of a file.", "path", path=("string", "relative to the repository"))
    writes = False

    async def call(self, arguments, context):
        data = await context.sandbox.read(context.path(arguments["path"]), limit=1_000_000)
        count = len(data.split())
        return ToolOutput(text=f"{count} words", note=f"{count}")
