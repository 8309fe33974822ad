"""The official `openai` package against a running gateway: what most of our users will point at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
from fake_worker import Call, FakeWorker, delta, fake_workers, good
from gateways import HELLO, Served, at_rest, of, pair, serving, until

from router.ledger import Outcome


@pytest.fixture
async def fake() -> AsyncIterator[FakeWorker]:
    async with fake_workers(1) as [one]:
        yield one


@pytest.fixture
async def served(fake: FakeWorker) -> AsyncIterator[Served]:
    async with serving([of(fake, "w")]) as one:
        yield one


@pytest.fixture
async def client(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=served.app.url + "/v1", api_key="unused", max_retries=0) as one:
        yield one


async def test_a_chat(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=HELLO)  # type: ignore[call-overload]
    assert answer.choices[0].message.content == "hello"
    assert answer.usage.completion_tokens == 4


async def test_a_streamed_chat_with_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(  # type: ignore[call-overload]
        model="default", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "t0 t1 t2 "
    assert chunks[-1].usage.completion_tokens == 3


async def test_a_completion(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model="m", prompt="hello", max_tokens=4)
    assert answer.choices[0].text == "hello"


async def test_a_streamed_completion(fake: FakeWorker, client: openai.AsyncOpenAI) -> None:
    async def script(call: Call) -> None:
        await call.head()
        for text, finish in (("a", None), ("b", "length")):
            choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
            await call.event({"id": "x", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]})
        await call.event("[DONE]")
        await call.end()

    fake.script = script
    stream = await client.completions.create(model="m", prompt="hello", stream=True)
    assert [chunk.choices[0].text async for chunk in stream] == ["a", "b"]


async def test_the_models(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["m", "default"]


async def test_an_unknown_model_raises_not_found(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-9", messages=HELLO)  # type: ignore[call-overload]
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


async def test_a_bad_parameter_raises_bad_request_and_names_it(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="m", messages=HELLO, temperature=9)  # type: ignore[call-overload]
    assert caught.value.param == "temperature"


async def test_a_dead_fleet_raises_an_internal_server_error(fake: FakeWorker, client: openai.AsyncOpenAI) -> None:
    await fake.die()
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="m", messages=HELLO)  # type: ignore[call-overload]


async def test_a_stream_cut_short_raises_and_never_ends_as_if_it_were_whole(
    fake: FakeWorker, client: openai.AsyncOpenAI
) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.event(delta("half"))
        await call.end()

    fake.script = script
    stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)  # type: ignore[call-overload]
    assert (await anext(stream)).choices[0].delta.content == "half"
    with pytest.raises(openai.APIError, match="cut short"):
        await anext(stream)


async def test_a_timeout_of_the_client_frees_the_worker(
    fake: FakeWorker, served: Served, client: openai.AsyncOpenAI
) -> None:
    async def script(call: Call) -> None:
        await call.gone()

    fake.script = script
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=0.05).chat.completions.create(model="m", messages=HELLO)  # type: ignore[call-overload]
    await until(lambda: at_rest(served.app))
    assert served.last.outcome is Outcome.CLIENT_CANCELLED


async def test_comments_before_the_first_token_are_no_news_to_it(fake: FakeWorker) -> None:
    release = asyncio.Event()

    async def prefill_slowly(call: Call) -> None:
        await release.wait()
        await good(call)

    fake.script = prefill_slowly
    async with fake_workers(1) as [decode]:
        workers, policy = pair(fake, decode)
        async with (
            serving(workers, policy, limits={"head_hold_s": 0.005}) as served,
            openai.AsyncOpenAI(base_url=served.app.url + "/v1", api_key="x", max_retries=0) as client,
        ):
            # `create` returns with the head, which only a comment can have sent while prefill goes on
            stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)  # type: ignore[call-overload]
            release.set()
            text = [chunk.choices[0].delta.content or "" async for chunk in stream]
            assert "".join(text) == "t0 t1 t2 "
