"""Drives a router with the real `openai` package and prints what came of it as JSON.

    openai_client.py BASE_URL MODEL API_KEY
"""

import json
import sys

import openai

BASE_URL, MODEL, API_KEY = sys.argv[1:4]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def client(key=API_KEY):
    return openai.OpenAI(base_url=BASE_URL, api_key=key, max_retries=0, timeout=300)


def refused(call):
    """What the client is told when a call is refused."""
    try:
        call()
    except openai.APIStatusError as error:
        return {"type": type(error).__name__, "status": error.status_code, "code": error.code, "param": error.param}
    return {"type": "accepted"}


def ask(**overrides):
    return client().chat.completions.create(
        **{"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 16, **overrides}
    )


whole = ask()
pieces, usage = [], None
for chunk in ask(stream=True, stream_options={"include_usage": True}):
    usage = chunk.usage or usage
    pieces += [choice.delta.content or "" for choice in chunk.choices]

bad_json = client()._client.post(
    f"{BASE_URL}/chat/completions",
    content=b'{"model": ',
    headers={"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
)

print(json.dumps({
    "models": [model.id for model in client().models.list()],
    "text": whole.choices[0].message.content,
    "finish_reason": whole.choices[0].finish_reason,
    "prompt_tokens": whole.usage.prompt_tokens,
    "completion_tokens": whole.usage.completion_tokens,
    "streamed": "".join(pieces),
    "streamed_tokens": usage.completion_tokens,
    "wrong_model": refused(lambda: ask(model="nobody")),
    "over_long": refused(lambda: ask(messages=[{"role": "user", "content": "word " * 5000}])),
    "wrong_key": refused(lambda: client("sk-wrong").models.list()),
    "bad_json": {"status": bad_json.status_code, "error": bad_json.json()["error"]},
}))
