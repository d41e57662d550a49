"""An engine that draws answers, as a process of its own: `python completion_server.py FOLDER OTHER
LOG`, prints its port.

It speaks OpenAI's completions protocol over `generate` of transformers, and what it does goes by
the model's name: tiny (vLLM's dialect: ids in, ids out), tiny-text (ids in, text out), tiny-busy
(every other call fails), tiny-other (the weights of OTHER), tiny-deaf (knows no temperature, top_k
and top_p), tiny-narrow (prompt and answer in 40 tokens at most), tiny-open (leaves the end token
out), tiny-wild (ids that no tokenizer has), serve (the dialect of `transformers serve`). LOG: a
line for each call.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

torch.set_num_threads(1)
FOLDER, OTHER, LOG = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
models = {
    name: AutoModelForCausalLM.from_pretrained(folder).eval()
    for name, folder in (("tiny", FOLDER), ("other", OTHER))
}
NAMES = [
    "tiny",
    *(f"tiny-{what}" for what in ("text", "busy", "other", "deaf", "narrow", "open", "wild")),
    "serve",
]
lock = threading.Lock()
calls = 0


def drawn(model, ids, n, seed, config):
    torch.manual_seed(seed)
    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]).expand(n, -1), generation_config=GenerationConfig(**config)
        )[:, len(ids) :]
    ends = config["eos_token_id"]
    for row in out.tolist():
        at = next((k for k, i in enumerate(row) if i in ends), None)
        yield (row, True) if at is None else (row[: at + 1], False)


def worth(model, ids, said):
    with torch.no_grad():
        logits = model(torch.tensor([ids + said])).logits[0, len(ids) - 1 : -1].double()
    return logits.log_softmax(-1)[range(len(said)), said].tolist()


def stopped(row, full, asked):
    """Up to the token that completes a stop string, found in text alone."""
    for k in range(asked["min_tokens"] + 1, len(row) + 1):
        before, text = (tokenizer.decode(row[:j], skip_special_tokens=True) for j in (k - 1, k))
        hit = [s for s in asked["stop"] if text.count(s) > before.count(s)]
        if hit:
            return row[:k], False, hit[0]
    return row, full, None


def vllm(asked):
    name = asked["model"]
    model = models["other" if name == "tiny-other" else "tiny"]
    bias = {(int(i),): float(b) for i, b in asked.get("logit_bias", {}).items()}
    config = {
        "do_sample": True,
        "max_new_tokens": asked["max_tokens"],
        "min_new_tokens": asked["min_tokens"],
        "pad_token_id": 2,
        "eos_token_id": asked["stop_token_ids"],
        **({"sequence_bias": bias} if bias else {}),
        "top_k": 0,
    }
    if name != "tiny-deaf":
        config |= {
            "temperature": asked["temperature"],
            "top_k": max(0, asked["top_k"]),
            "top_p": asked["top_p"],
        }
    choices = []
    for row, full in drawn(model, asked["prompt"], asked["n"], asked["seed"], config):
        ids, full, by = stopped(row, full, asked)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        ends = not full and by is None
        say = {
            "text": text.split(by)[0] if by else text,
            "finish_reason": "length" if full else "stop",
            "stop_reason": by,
            "index": len(choices),
        }
        if name != "tiny-text":
            say["token_ids"] = (
                ids[:-1] if ends and name == "tiny-open" else [9999] if name == "tiny-wild" else ids
            )
        if asked.get("logprobs") and name not in ("tiny-text", "tiny-wild"):
            say["logprobs"] = {"token_logprobs": worth(model, asked["prompt"], say["token_ids"])}
        choices.append(say)
    return choices, len(asked["prompt"])


def serve(asked):
    """One completion a call, text in and out, greedy unless the configuration says otherwise."""
    config = json.loads(asked["generation_config"])
    ids = tokenizer(asked["prompt"])["input_ids"]
    ((row, full),) = drawn(models["tiny"], ids, 1, asked["seed"], config)
    text = tokenizer.decode(row, skip_special_tokens=True)
    return [
        {"text": text, "finish_reason": "length" if full else "stop", "index": 0, "n": len(row)}
    ], len(ids)


class Engine(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, code, said):
        raw = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self):
        self.send(200, {"data": [{"id": name} for name in NAMES]})

    def do_POST(self):
        global calls
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            calls += 1
            with open(LOG, "a") as f:
                f.write(
                    json.dumps(
                        {"path": self.path, "key": self.headers.get("Authorization"), **asked}
                    )
                    + "\n"
                )
            name = asked["model"]
            if name not in NAMES:
                return self.send(404, {"error": {"message": f"The model `{name}` does not exist."}})
            if name == "tiny-busy" and calls % 2:
                return self.send(503, {"error": "overloaded"})
            more = set(asked) - {
                "model",
                "prompt",
                "seed",
                "generation_config",
                "max_tokens",
                "temperature",
                "stop",
                "n",
            }
            if name == "serve" and more:
                return self.send(422, {"detail": f"Unexpected fields in the request: {more}"})
            if name == "tiny-narrow" and len(asked["prompt"]) + asked["max_tokens"] > 40:
                return self.send(
                    400, {"error": {"message": "This model's maximum context length is 40 tokens."}}
                )
            choices, read = (serve if name == "serve" else vllm)(asked)
            written = sum(c.pop("n", 0) or len(c.get("token_ids", "")) for c in choices)
            usage = {"prompt_tokens": read, **({"completion_tokens": written} if written else {})}
            return self.send(200, {"choices": choices, "usage": usage})


server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
print(server.server_port, flush=True)
server.serve_forever()
