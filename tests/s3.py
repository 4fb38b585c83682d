"""A real S3 server on loopback, moto's, that counts what it is asked for and sends, and can be made to wait."""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEYS = {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": "a-secret"}


class S3:
    """The server, and a bucket of its own for each test.

    requests: their methods and paths, sent: bytes of answers, since `forget`. held: the method of requests that wait
    until the gate is open; waiting tells that one does.
    """

    def __init__(self) -> None:
        self._app: Any = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        self.bucket = ""
        self.requests: list[str] = []
        self.sent = 0
        self.held = ""
        self.gate, self.waiting = threading.Event(), threading.Event()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process use this server, with keys and without any settings of the user's."""
        none = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
        return {**KEYS, **none, "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    @property
    def options(self) -> str:
        """What makes an address one of this server, whatever the environment."""
        return f"?endpoint_override={self.host}&scheme=http"

    def stop(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._thread.join()

    def new_bucket(self, name: str) -> None:
        """Makes the bucket that all else is about."""
        self.bucket = name
        self._client.create_bucket(Bucket=name)
        self.forget()

    @contextmanager
    def holding(self, method: str) -> Iterator[None]:
        """Lets requests of a method wait, one of them having come, until the end of the context."""
        self.gate.clear()
        self.waiting.clear()
        self.held = method
        try:
            yield
        finally:
            self.held = ""
            self.gate.set()

    def forget(self) -> None:
        """Begins to count anew."""
        self.requests, self.sent = [], 0

    def address(self, key: str) -> str:
        """Of a key in the bucket."""
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, content: bytes | Path, public: bool = False) -> str:
        """Writes an object and returns its address."""
        body = content if isinstance(content, bytes) else content.read_bytes()
        self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ACL="public-read" if public else "private")
        return self.address(key)

    def get(self, key: str) -> bytes:
        """The content of an object."""
        return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def listed(self) -> list[str]:
        """The keys of all objects in the bucket."""
        return [found["Key"] for found in self._client.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def require_known_keys(self, required: bool) -> None:
        """Whether the server refuses keys that are no user's of it, which those of the tests are not."""
        limit = b"0" if required else b"inf"
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", limit, {"Content-Type": "text/plain"})
        with urllib.request.urlopen(request):
            pass

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if environ["REQUEST_METHOD"] == self.held:
            self.waiting.set()
            self.gate.wait(30)
        return self._counted(self._app(environ, start))

    def _counted(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            self.sent += len(part)
            yield part
