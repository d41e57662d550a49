"""The control plane of a vLLM server: new weights, adapters, and a cache that forgets the old ones.

vLLM mounts these routes where VLLM_SERVER_DEV_MODE=1. They stand beside /v1, take no key, and
belong on a private interface.
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from assay.data.http import JsonClient
from assay.data.http_faults import Garbled, Refused, Unavailable
from assay.errors import InputError
from assay.models.samplers.engine import Completion, Request, SamplingParams, Weights
from assay.models.samplers.openai import KEYS, Server, shown
from assay.models.tokenizer import Tokens

log = logging.getLogger("assay")
START = (
    "start it by VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve MODEL "
    "--logprobs-mode processed_logprobs --worker-extension-cls "
    "assay.models.samplers.vllm_worker.Extension --weight-transfer-config "
    """'{"backend":"assay-files"}'"""
)
PATIENCE = 600.0  # seconds for one call: a large model is loaded in one


class VllmServer(Server):
    """A server whose weights follow a policy in training.

    Args:
        url: See Server.
        model: See Server.
        vocabulary: See Server.
        adapter: Whether adapters are handed over, not whole weights.
        more: See Server.
    """

    def __init__(
        self, url: str, model: str, vocabulary: Tokens, *, adapter: bool = False, **more: Any
    ):
        super().__init__(url, model, vocabulary, **more)
        self.whole, self.adapter = model, adapter
        self._loaded, self._version, self._prepared = "", "", False
        parts = urllib.parse.urlsplit(self.base)
        self.root = f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/v1')}"
        self.control = self._client()
        self._wake()

    def _client(self) -> JsonClient:
        """One try: a call that is repeated after it was obeyed is out of order."""
        how: Any = {"keys": KEYS, "tries": 1, "timeout": PATIENCE, "patience": PATIENCE}
        return JsonClient(self.root, "sampler", **how)

    def _wake(self) -> None:
        """Resume a server that a killed run left paused: it would never answer."""
        try:
            paused = self._call("/is_paused", None).get("is_paused")
        except InputError:
            return  # no such route, or no server: the first request says so
        if paused:
            log.warning("%s is paused, as a run that was killed leaves it; it goes on", self.name)
            self._post("/resume", {})

    def generate(
        self, requests: Sequence[Request], params: SamplingParams
    ) -> list[list[Completion]]:
        """See Engine. A server that was started again meanwhile holds its first weights."""
        made = super().generate(requests, params)
        if self._version and (now := self._served()) != self._version:
            raise InputError(
                f"{self.name} was given the weights '{self._version}' and now holds '{now}': it "
                "was started again, or another run uses it; go on with --resume"
            )
        return made

    def prepare(self) -> None:
        """See Updatable."""
        if self._prepared:
            return
        try:
            self._served()
        except InputError as why:
            raise InputError(
                f"{self.name} takes no new weights, and this recipe trains: its completions would "
                f"be the old weights'; {START}, or leave --sampler out"
            ) from why
        if not self.adapter:
            self._post("/init_weight_transfer_engine", {"init_info": {}})
        self._prepared = True

    def update(self, weights: Weights) -> None:
        """See Updatable."""
        self._version = ""
        if self.adapter:
            self._load_adapter(weights)
        else:
            self._load_weights(weights)
        if self._post("/reset_prefix_cache", {}).get("success") is not True:
            raise InputError(
                f"{self.name} did not reset its prefix cache, so it would go on with what it "
                "computed by the old weights: does another program use it? Give it to this run "
                "alone"
            )

    def _load_weights(self, weights: Weights) -> None:
        body = {"update_info": {"folder": str(weights.folder)}}
        try:
            self._post("/pause?mode=wait", {})
            fresh = self._begin()
            try:
                self._post("/update_weights", body)
            except InputError:
                if fresh:
                    raise
                # the killed run had sent its weights; the failure has closed its update
                self._post("/start_weight_update", {})
                self._post("/update_weights", body)
            self._post("/finish_weight_update", {"weight_version": weights.version})
        except BaseException:
            with suppress(InputError):  # the cause is what has to be said
                self._post("/resume", {})
            raise
        self._post("/resume", {})
        self._version = weights.version

    def _begin(self) -> bool:
        """Begin an update, or go on with one that a killed run left open; return whether it is
        begun here.
        """
        try:
            self._post("/start_weight_update", {})
        except InputError as why:
            if "already active" not in str(why):
                raise
            return False
        return True

    def _load_adapter(self, weights: Weights) -> None:
        before = self._loaded
        if weights.folder is None:
            self.model = self.whole
            return
        body = {"lora_name": weights.version, "lora_path": str(weights.folder)}
        self._post("/v1/load_lora_adapter", body)
        self.model = self._loaded = weights.version
        if before:
            self._post("/v1/unload_lora_adapter", {"lora_name": before})

    def _sentence(self, why: Refused) -> InputError:
        """See Server."""
        if why.code == 404 and self._loaded and self.model == self._loaded:
            return InputError(
                f"{self.name} no longer has the adapter '{self._loaded}' that it was given: it was "
                "started again; go on with --resume"
            )
        return super()._sentence(why)

    def _served(self) -> str:
        """The version of the weights that the server holds. A question may be repeated."""
        said = self._call("/weight_info", None, self.client)
        if not isinstance(said, dict) or "weight_version" not in said:
            raise InputError(f"--sampler: {self.root}/weight_info names no version of its weights")
        return shown(said["weight_version"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return dict(self._call(path, body))

    def _call(self, path: str, body: dict[str, Any] | None, by: JsonClient | None = None) -> Any:
        """One call of the control plane; what the server says of a failure is in the message."""
        try:
            url = f"{self.root}{path}"
            return (by or self.control).request(body, path, _answer, url=url, strict=True)
        except Garbled as why:
            if path.startswith("/v1/") and why.said.startswith("Success"):
                return {}  # these routes answer by a text
            raise InputError(f"--sampler: {self.root}{path} answered '{why.said}'") from why
        except Refused as why:
            lora = "lora" in path and why.code in (403, 404)
            raise InputError(
                f"--sampler: {self.root}{path} was refused with HTTP {why.code} "
                f"({why.said[:160]}); {START + (' --enable-lora' if lora else '')}"
            ) from why
        except Unavailable as why:
            self.control = self._client()  # the server closes the connection after a failure
            raise InputError(
                f"--sampler: {self.root}{path} failed ({why}{_more(why)}); its log says more. "
                "The run goes on from its last save with --resume"
            ) from why


def _answer(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise ValueError("an answer that is no object")
    return said


def _more(why: Unavailable) -> str:
    return f": {why.said[:200]}" if why.said else ""
