"""An instruct model that speaks the OpenAI protocol, as a process of its own: `python
yes_no_server.py MODE LOG`, prints its port.

MODE: plain (yes where the question says "after: lit"), vague. A request for a list gets one. LOG: a
line for each call.
"""

import json
import sys

from answering import Quiet, serve

MODE, LOG = sys.argv[1], sys.argv[2]


class Model(Quiet):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = asked["messages"][0]["content"]
        said = "**Yes.**" if "after: lit" in text.lower() else "No, it did not."
        if "List the" in text:
            said = "Of course:\n1. Pick up the key.\n2. open the locked door\n"
        if MODE == "vague":
            said = "That depends."
        with open(LOG, "a") as f:
            f.write(json.dumps({"model": asked["model"], "path": self.path}) + "\n")
        body = {"choices": [{"message": {"content": said}}]}
        return self.send(200, json.dumps(body).encode())


serve(Model)
