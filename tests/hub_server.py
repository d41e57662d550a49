"""A model hub on this machine as a process: `python hub_server.py FOLDER LOG`, prints its port.

FOLDER/owner/name is a repository, all of it one commit. LOG: a line for each request.
"""

import hashlib
import json
import sys
from pathlib import Path

from answering import Quiet, serve

HOME, LOG = Path(sys.argv[1]), sys.argv[2]


class Hub(Quiet):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        with open(LOG, "a") as f:
            f.write(f"{self.command} {self.path}\n")
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == [""]:
            return self.send(200, b"")
        if parts[:2] == ["api", "models"] and parts[4:5] == ["tree"]:
            return self.send(200, b"[]")  # folders of further templates: there are none
        if parts[:2] == ["api", "models"] and (HOME / "/".join(parts[2:4])).is_dir():
            return self.send(200, json.dumps(self.about("/".join(parts[2:4]))).encode())
        repo, file = "/".join(parts[:2]), HOME / "/".join(parts[:2]) / "/".join(parts[4:])
        if not (HOME / repo).is_dir():
            return self.send(404, b"", X_Error_Code="RepoNotFound")
        if not file.is_file():
            return self.send(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=sha(repo))
        raw = file.read_bytes()
        etag = f'"{hashlib.sha1(raw).hexdigest()}"'
        return self.send(200, raw, X_Repo_Commit=sha(repo), ETag=etag)

    def about(self, repo):
        here = sorted(p for p in (HOME / repo).rglob("*") if p.is_file())
        files = [{"rfilename": p.relative_to(HOME / repo).as_posix()} for p in here]
        return {"id": repo, "modelId": repo, "sha": sha(repo), "siblings": files, "tags": []}

    def send(self, code, raw, **heads):
        body = raw if self.command == "GET" else b""
        self.send_response(code)
        for k, v in {"Content-Length": str(len(raw)), **heads}.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        self.wfile.write(body)


def sha(repo):
    return hashlib.sha1(repo.encode()).hexdigest()


serve(Hub)
