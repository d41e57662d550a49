"""What vLLM runs in each of its workers, so that its weights can be replaced by files.

vLLM imports this module where `worker_extension_cls` names it, and finds a weight-transfer backend
of the name BACKEND. The transports that vLLM brings (NCCL, CUDA IPC) need CUDA; files of
safetensors work on every device, in a folder that both sides see. Nothing else of this package is
imported here, since the workers may belong to a server.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from safetensors import safe_open
from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

BACKEND = "assay-files"
OWNER = "ENGINE_OWNER_PID"  # in the environment: the run that opened the engine in its process


@dataclass
class Init(WeightTransferInitInfo):  # type: ignore[misc]
    """Files need no rendezvous."""


@dataclass
class Update(WeightTransferUpdateInfo):  # type: ignore[misc]
    """One set of weights.

    Attributes:
        folder: Holds them as `save_pretrained` writes them.
    """

    folder: str


class FileTransfer(WeightTransferEngine[Init, Update]):  # type: ignore[misc]
    """Loads weights from a folder of safetensors."""

    init_info_cls = Init
    update_info_cls = Update

    def init_transfer_engine(self, init_info: Init) -> None:
        """Do nothing: there is no connection to make."""

    def start_weight_update(self) -> None:
        """See vLLM: layers are loaded again one by one, since their weights are packed."""
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: Update) -> None:
        """Load the folder's weights."""
        self.model.load_weights(_tensors(Path(update_info.folder), self.device))

    def finish_weight_update(self) -> None:
        """See vLLM, and pack an output head that shares its weights with the embeddings again."""
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type == "cpu" and self.model_config.hf_text_config.tie_word_embeddings:
            _pack_heads(self.model)

    def shutdown(self) -> None:
        """Do nothing: nothing is held open."""


class Extension:
    """What vLLM adds to its worker class; importing this module is all that is wanted."""


def _tensors(folder: Path, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} holds no *.safetensors: does this machine see the folder?")
    for file in files:
        with safe_open(str(file), framework="pt", device=str(device)) as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                yield name, opened.get_tensor(name)


def _pack_heads(model: Any) -> None:
    """Pack the matrix of each output head again.

    vLLM's CPU backend keeps a packed copy of it, and loading tied weights changes the embeddings
    alone: the head would go on with the old ones, without an error.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


def _end_with(owner: Any) -> None:
    """End the engine once the run that opened it is gone: vLLM's goes on after a SIGKILL."""
    while owner.is_running() and owner.status() != psutil.STATUS_ZOMBIE:
        time.sleep(1.0)
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(1)


WeightTransferEngineFactory.register_engine(BACKEND, FileTransfer)
if OWNER in os.environ:
    _RUN = psutil.Process(int(os.environ[OWNER]))
    threading.Thread(target=_end_with, args=(_RUN,), daemon=True).start()
