"""A judge that speaks the OpenAI protocol, as a process of its own: `python judge_server.py MODE
LOG`, prints its port.

MODE: plain (the longer answer wins), half (every other call fails), garbage, biased (always A),
slow, cut, words, moved, limit. LOG: a line for each call that was answered.
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
        text = asked["messages"][1]["content"]
        if MODE == "half" and calls % 2:
            return self.send((500, 429, 503)[calls // 2 % 3], b"busy", Retry_After="0")
        if MODE == "limit":
            return self.send(401, b"who are you\n?")
        if MODE == "moved":
            return self.send(307, b"", Location="http://127.0.0.1:9/elsewhere")
        if MODE == "slow" and calls == 1:
            time.sleep(3)
        if MODE == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "500")
            self.end_headers()
            self.wfile.write(b"{")
            return None
        if MODE == "garbage":
            return self.send(200, b"<html>not what you asked for")
        a = text.split("<answer-A")[1].split("</answer-A")[0]
        b = text.split("<answer-B")[1].split("</answer-B")[0]
        said = "TIE" if len(a) == len(b) else "A" if len(a) > len(b) else "B"
        said = {"biased": "A", "words": "Well, both have their merits."}.get(
            MODE, f"I have compared them.\nVerdict: **{said}**"
        )
        with open(LOG, "a") as f:
            f.write(json.dumps({"key": self.headers.get("Authorization"), "text": text}) + "\n")
        body = {
            "choices": [{"message": {"content": said}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 5},
        }
        return self.send(200, json.dumps(body).encode())


serve(Judge)
