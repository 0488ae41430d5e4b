"""The yardstick: an agent loop of sixty lines on the Anthropic SDK, with one tool, no sandbox, no limits and no
report."""

import subprocess
import sys

import anthropic

TOOLS = [
    {
        "name": "bash",
        "description": "Run a shell command.",
        "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    }
]


def run_bash(command: str, cwd: str) -> str:
    shell = ["bash", "-c", command]
    done = subprocess.run(
        shell, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    return f"{done.stdout}\n[exit code {done.returncode}]"


def main() -> None:
    repository, task = sys.argv[1], sys.argv[2]
    client = anthropic.Anthropic()
    messages: list = [{"role": "user", "content": task}]
    while True:
        with client.messages.stream(
            model="claude-sonnet-5-5",
            max_tokens=32_000,
            system="You are a coding agent.",
            tools=TOOLS,
            messages=messages,
        ) as stream:
            reply = stream.get_final_message()
        messages.append({"role": "assistant", "content": reply.content})
        calls = [block for block in reply.content if block.type == "tool_use"]
        if reply.stop_reason != "tool_use" or not calls:
            print("".join(block.text for block in reply.content if block.type == "text"))
            return
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": run_bash(call.input["command"], repository)}
            for call in calls
        ]
        messages.append({"role": "user", "content": results})


if __name__ == "__main__":
    main()
