"""A model that is not one: it lists the repository, counts the words of a file, and ends."""

from flue_ci.core.errors import Diagnostic
from flue_ci.core.messages import Reply, ToolCall, Usage

STEPS = (("bash", {"command": "echo counted > notes.txt"}), ("count_words", {"path": "notes.txt"}))


class ScriptedModel:
    @classmethod
    def from_options(cls, options, settings):
        return cls(options.name)

    @staticmethod
    def missing_keys(settings):
        return ()  # or the names of variables that are missing: `if not settings.environ.get("MY_KEY")`

    @classmethod
    async def diagnose(cls, settings, *, offline):
        return Diagnostic(key="scripted", message="needs no key", severity="ok")

    @staticmethod
    def preload():
        pass

    def __init__(self, name):
        self.name = name

    def prepare(self):
        pass  # imports the vendor's SDK; runs in a thread while the sandbox starts

    async def turn(self, request, observe):
        turn = sum(isinstance(message, Reply) for message in request.messages)
        usage = Usage(turns=1, input_tokens=10, output_tokens=5, cost_usd=0.001)
        if turn == len(STEPS):
            last = request.messages[-1].results[-1].content
            return Reply(text=f"The file has {last}.", calls=(), stop_reason="end_turn", usage=usage, blocks=())
        name, arguments = STEPS[turn]
        call = ToolCall(id=f"call-{turn}", name=name, input=arguments)
        return Reply(text="", calls=(call,), stop_reason="tool_use", usage=usage, blocks=())

    async def close(self):
        pass
