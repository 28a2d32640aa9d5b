"""An endpoint of the Hub on this machine: repositories in memory, and what pushes and loads need."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse


class FakeHub(ThreadingHTTPServer):
    """Repositories by name: path -> bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.asked, self.tokens = {}, [], set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


def commit_of(files):
    return hashlib.sha1(b"".join(name.encode() + content for name, content in sorted(files.items()))).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, content, status=200, headers=None, kind="application/json"):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, code):
        self.answer({"error": "not found"}, 404, {"X-Error-Code": code, "X-Error-Message": "not found"})

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        path, hub = unquote(urlparse(self.path).path), self.server
        hub.asked.append(("POST", path))
        hub.tokens.add(self.headers.get("Authorization"))
        sent = self.body()
        if path == "/api/repos/create":
            name = json.loads(sent)
            name = f"{name['organization']}/{name['name']}" if name.get("organization") else name["name"]
            hub.repositories.setdefault(name, {})
            self.answer({"url": f"{hub.url}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(sent)["files"]
            ]
            self.answer({"files": files})
        elif "/commit/" in path:
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, sent.splitlines()):
                if line["key"] == "file":
                    hub.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            commit = commit_of(hub.repositories[name])
            self.answer({"commitUrl": f"{hub.url}/{name}/commit/{commit}", "commitOid": commit, "success": True})
        else:
            self.missing("EntryNotFound")

    def do_GET(self):
        path, hub = unquote(urlparse(self.path).path), self.server
        hub.asked.append((self.command, path))
        if path.startswith("/api/models/"):
            rest = path.removeprefix("/api/models/")
            name = "/".join(rest.split("/")[:2])
            if name not in hub.repositories:
                self.missing("RepoNotFound")
                return
            files = hub.repositories[name]
            if "/tree/" in rest:
                listing = [
                    {"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                    for p, c in files.items()
                ]
                self.answer(listing)
            else:
                siblings = [{"rfilename": path} for path in files]
                self.answer(
                    {"id": name, "modelId": name, "sha": commit_of(files), "siblings": siblings, "private": False}
                )
            return
        name, _, rest = path.removeprefix("/").partition("/resolve/")
        file = rest.partition("/")[2]
        if name not in hub.repositories or file not in hub.repositories[name]:
            self.missing("EntryNotFound" if name in hub.repositories else "RepoNotFound")
            return
        content = hub.repositories[name][file]
        about = {
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": commit_of(hub.repositories[name]),
        }
        self.answer(content, 200, about, "application/octet-stream")

    do_HEAD = do_GET  # noqa: N815
