"""The Python MCP SDK against an endpoint with server-everything and server-filesystem behind it.

Takes one JSON object: {"era": "legacy" or a revision, "url" or "command", "folder"}. Prints a line for each check,
then `N passed, N failed`.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from mcp import Client, types
from mcp.client.stdio import StdioServerParameters

LIMIT = 60


async def elicited(context, params):
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def sampled(context, params):
    text = types.TextContent(type="text", text="sampled by the client")
    return types.CreateMessageResult(role="assistant", content=text, model="none")


def said(result):
    return "\n".join(item.text for item in result.content if item.type == "text")


def named(names, name):
    found = [one for one in names if one == name or one.endswith("__" + name)]
    assert len(found) == 1, f"{name}: {found or 'not listed'}"
    return found[0]


async def every(list_page, member):
    found, cursor = [], None
    while True:
        page = await list_page(cursor=cursor)
        found += getattr(page, member)
        cursor = page.next_cursor
        if not cursor:
            return found


async def checks(client, folder):
    tools = [tool.name for tool in await every(client.list_tools, "tools")]

    async def call(name, arguments, **more):
        return await client.call_tool(named(tools, name), arguments, **more)

    async def plain_call():
        assert "hello" in said(await call("echo", {"message": "hello"}))

    async def structured_result():
        result = await call("get-structured-content", {"location": "New York"})
        assert "temperature" in result.structured_content, result

    async def content_of_other_kinds():
        result = await call("get-tiny-image", {})
        assert any(item.type == "image" for item in result.content), result

    async def a_wrong_argument_is_told():
        try:
            result = await call("get-sum", {"a": "one", "b": 2})
        except Exception as error:
            assert "a" in str(error)
        else:
            assert result.is_error, result

    async def progress_comes():
        seen = []

        async def progress(value, total, message):
            seen.append(value)

        await call("trigger-long-running-operation", {"duration": 1, "steps": 4}, progress_callback=progress)
        assert len(seen) >= 3, seen

    async def elicitation():
        assert "Ada" in said(await call("trigger-elicitation-request", {}))

    async def sampling():
        result = await call("trigger-sampling-request", {"prompt": "anything", "maxTokens": 10})
        assert "sampled by the client" in said(result)

    async def prompts():
        names = [prompt.name for prompt in await every(client.list_prompts, "prompts")]
        got = await client.get_prompt(named(names, "args-prompt"), {"city": "Delft"})
        assert "Delft" in got.messages[0].content.text, got

    async def resources():
        found = await every(client.list_resources, "resources")
        got = await client.read_resource(found[0].uri)
        assert got.contents, got

    async def files():
        path = str(folder / "from-python.txt")
        assert not (await call("write_file", {"path": path, "content": "kept"})).is_error
        assert Path(path).read_text() == "kept"
        assert "kept" in said(await call("read_text_file", {"path": path}))
        assert (await call("read_text_file", {"path": "/etc/passwd"})).is_error

    async def many_at_once():
        answers = await asyncio.gather(*(call("echo", {"message": f"number {n}"}) for n in range(32)))
        assert all(f"number {n}" in said(answer) for n, answer in enumerate(answers))

    return [
        plain_call, structured_result, content_of_other_kinds, a_wrong_argument_is_told, progress_comes,
        elicitation, sampling, prompts, resources, files, many_at_once,
    ]


async def connected(what):
    """The checks, once what stands behind the endpoint has come up."""
    server = what.get("url") or StdioServerParameters(command=what["command"][0], args=what["command"][1:])
    era = what["era"]
    client = Client(
        server, mode=era, elicitation_callback=elicited, sampling_callback=sampled,
        read_timeout_seconds=LIMIT, cache=None,
    )
    passed = failed = 0
    async with client:
        end = time.monotonic() + LIMIT
        while not {"echo", "write_file"} <= {t.name.split("__")[-1] for t in await every(client.list_tools, "tools")}:
            assert time.monotonic() < end, "the tools of both servers were not listed in time"
            await asyncio.sleep(0.1)
        for check in await checks(client, Path(what["folder"])):
            try:
                await asyncio.wait_for(check(), LIMIT)
            except Exception as error:
                failed += 1
                print(f"  FAILED {check.__name__}: {type(error).__name__}: {error}")
            else:
                passed += 1
                print(f"  ok {check.__name__}")
    return passed, failed


def main():
    try:
        passed, failed = asyncio.run(connected(json.loads(sys.argv[1])))
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print(f"  FAILED connect: {type(error).__name__}: {error}")
        passed, failed = 0, 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
