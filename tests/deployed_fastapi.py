"""The application that uvicorn serves, written as a user writes one: openai's clients, recorded, behind FastAPI.

RECORDER_STORE, OPENAI_BASE_URL and OPENAI_API_KEY come from the environment. Each call is tagged with its number.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Iterator

import openai
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import recorder

tape = recorder.open()
client = tape.instrument(openai.OpenAI(max_retries=0))
async_client = tape.instrument(openai.AsyncOpenAI(max_retries=0))
app = FastAPI()


def pieces(number: str) -> Iterator[str]:
    """One call: first this process's id, then the types of the events as they come."""
    yield f"{os.getpid()}\n"
    with recorder.context(tags={"number": number}):
        for event in client.responses.create(model="gpt-5-mini", input=number, stream=True):
            yield f"{event.type}\n"


async def async_pieces(number: str) -> AsyncIterator[str]:
    """The same on the event loop."""
    yield f"{os.getpid()}\n"
    with recorder.context(tags={"number": number}):
        async for event in await async_client.responses.create(model="gpt-5-mini", input=number, stream=True):
            yield f"{event.type}\n"


@app.get("/collect")
def collect() -> int:
    """Let Python collect its garbage: Starlette leaves a plain generator, whose client has gone, to that."""
    return gc.collect()


@app.get("/sync/{number}")
def stream(number: str) -> StreamingResponse:
    return StreamingResponse(pieces(number), media_type="text/plain")


@app.get("/{number}")
async def async_stream(number: str) -> StreamingResponse:
    return StreamingResponse(async_pieces(number), media_type="text/plain")
