"""A judge of answers as a process of its own: `python score_server.py MODE LOG`, prints its port.

MODE: plain (words, null where the column `skip` says so), half (every other call fails), short,
words, huge, nan, deep, drip, text, refuse, moved, busy. LOG: a line for each call.
"""

import json
import sys
import time

from answering import Quiet, serve

MODE, LOG = sys.argv[1], sys.argv[2]
calls = 0


class Judge(Quiet):
    def do_POST(self):
        global calls
        calls += 1
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(LOG, "a") as f:
            f.write(
                json.dumps({"key": self.headers.get("Authorization"), "path": self.path, **asked})
                + "\n"
            )
        if MODE == "busy" or (MODE == "half" and calls % 2):
            return self.send(503, b"busy", Retry_After="0")
        if MODE == "moved":
            return self.send(302, b"", Location="/elsewhere")
        if MODE == "refuse":
            return self.send(422, b"no field\x1b[2J completions")
        said = [c if isinstance(c, str) else c[-1]["content"] for c in asked["completions"]]
        skip = asked["columns"].get("skip") or [False] * len(said)
        scores = [None if s else len(c.split()) for c, s in zip(said, skip)]
        wrong = {
            "short": scores[1:],
            "words": ["good"] * len(scores),
            "nan": [float("nan")] * len(scores),
            "text": "9 of 10",
        }
        if MODE == "huge":
            return self.send(
                200, b'{"scores": [' + b", ".join([b"1" + b"0" * 400] * len(scores)) + b"]}"
            )
        if MODE == "drip":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                time.sleep(0.05)
            return
        if MODE == "deep":
            return self.send(200, b"[" * 200_000)
        return self.send(200, json.dumps({"scores": wrong.get(MODE, scores)}).encode())


serve(Judge)
