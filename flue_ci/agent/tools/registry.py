"""Tools by name: ours in one table, those of other packages by the entry point group `flue_ci.tools`.

`TOOLS.load(name)` is a class or function without parameters that makes a `Tool` of that name for one run.
"""

from flue_ci.core.registry import Registry

TOOLS = Registry(
    kind="tool",
    group="flue_ci.tools",
    built_in={
        "bash": "flue_ci.agent.tools.bash:Bash",
        "read": "flue_ci.agent.tools.files:Read",
        "write": "flue_ci.agent.tools.files:Write",
        "edit": "flue_ci.agent.tools.files:Edit",
        "grep": "flue_ci.agent.tools.search:Grep",
        "glob": "flue_ci.agent.tools.search:Glob",
    },
)
# Those by which an agent proposes what is published: a spec gives them by what its `publish` allows, not by `tools`.
PROPOSAL_TOOLS = Registry(
    kind="tool",
    group="",
    built_in={
        "describe_change": "flue_ci.agent.tools.outputs:DescribeChange",
        "add_label": "flue_ci.agent.tools.outputs:AddLabel",
        "triage": "flue_ci.agent.tools.outputs:Triage",
        "check_run": "flue_ci.agent.tools.outputs:WriteCheckRun",
        "reply": "flue_ci.agent.tools.outputs:WriteReply",
        "review_comment": "flue_ci.agent.tools.review:ReviewCommentTool",
        "close_finding": "flue_ci.agent.tools.review:CloseFinding",
    },
)
# Ours that change no file; any other may.
READ_ONLY = frozenset({"read", "grep", "glob", "finish", "give_up", *PROPOSAL_TOOLS.built_in})
