"""What an application would do, with OpenAI's own client; the router's URL is the only argument."""

import sys

import openai


def expect(error_class, code, param, call):
    try:
        call()
    except error_class as error:
        assert (error.code, error.param) == (code, param), (error.code, error.param)
        return error
    raise AssertionError(f"no {error_class.__name__}")


url = sys.argv[1]
client = openai.OpenAI(base_url=url, api_key="sk-alice", max_retries=0, timeout=60)


def chat(content="hi", **more):
    return client.chat.completions.create(
        **{"model": "tiny", "messages": [{"role": "user", "content": content}], **more}
    )


whole = chat(max_tokens=9)
assert whole.choices[0].message.content == "Hello world", whole
assert whole.choices[0].finish_reason == "stop", whole
assert whole.usage.total_tokens == 9, whole

chunks = list(chat(stream=True, stream_options={"include_usage": True}))
assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == "Hello world", text
assert chunks[-1].usage.completion_tokens == 4, chunks[-1]

completion = client.completions.create(model="tiny", prompt="once", stop=[" world"])
assert completion.choices[0].text == "Hello", completion
pieces = [chunk.choices[0].text for chunk in client.completions.create(model="tiny", prompt="once", stream=True)]
assert "".join(pieces) == "Hello world", pieces

assert [model.id for model in client.models.list()] == ["tiny", "demo/large"]
assert client.models.retrieve("demo/large").owned_by == "edgeloom"

expect(openai.NotFoundError, "model_not_found", "model", lambda: chat(model="huge"))
expect(openai.NotFoundError, "model_not_found", "model", lambda: client.models.retrieve("huge"))
expect(openai.BadRequestError, "invalid_value", "temperature", lambda: chat(temperature=3))
expect(openai.BadRequestError, "unsupported_parameter", "n", lambda: chat(n=2))
expect(openai.BadRequestError, "context_length_exceeded", "messages", lambda: chat("too long"))
expect(openai.BadRequestError, "not_supported", None, lambda: client.embeddings.create(model="tiny", input="x"))
busy = expect(openai.RateLimitError, "rate_limit_exceeded", None, lambda: chat("busy"))
assert busy.response.headers["retry-after"] == "1"
assert busy.request_id.startswith("req-"), busy.request_id

for headers in ({"Authorization": openai.Omit()}, {"Authorization": "Bearer sk-wrong"}):
    expect(openai.AuthenticationError, "invalid_api_key", None, lambda: chat(extra_headers=headers))

seen = []
try:
    for chunk in chat("break off", stream=True):
        seen.append(chunk.choices[0].delta.content)
    raise AssertionError("a broken stream must raise")
except openai.APIError as error:
    assert "node b is gone" in str(error), error
assert "".join(seen) == "Hel", seen

# Goes away in the middle: the test that started this script sees the cancellation.
with chat("go on", stream=True) as stream:
    for chunk in stream:
        if chunk.choices[0].delta.content == "Hel":
            break
