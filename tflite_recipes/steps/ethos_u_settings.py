"""The keys of an Ethos-U target, which its checks and its step read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path
from typing import Annotated

from tflite_recipes.core.schema import ExistingPath, within
from tflite_recipes.steps.hardware import Hardware, Limit
from tflite_recipes.targets.vela import config as vela_config


@unique
class Accelerator(Enum):
    """Ethos-U NPUs, by Vela's names; the last number is the MACs a cycle."""

    ethos_u55_32 = "ethos-u55-32"
    ethos_u55_64 = "ethos-u55-64"
    ethos_u55_128 = "ethos-u55-128"
    ethos_u55_256 = "ethos-u55-256"
    ethos_u65_256 = "ethos-u65-256"
    ethos_u65_512 = "ethos-u65-512"
    ethos_u85_128 = "ethos-u85-128"
    ethos_u85_256 = "ethos-u85-256"
    ethos_u85_512 = "ethos-u85-512"
    ethos_u85_1024 = "ethos-u85-1024"
    ethos_u85_2048 = "ethos-u85-2048"


@unique
class Strategy(Enum):
    """What Vela makes least of, by its own names."""

    Performance = "cycles"
    Size = "memory"


@dataclass(frozen=True)
class EthosUSettings(Hardware):
    """Hold the keys of an Ethos-U NPU beside a Cortex-M or Cortex-A, for which Vela compiles the file.

    `system_config` (clock, memories) and `memory_mode` are sections of `config`, an `.ini` of Vela's form; null is the
    one that comes with Vela. `arena_cache_size_kb` (KiB) is the SRAM that Vela aims for, null the memory mode's.
    `min_npu_op_percent` of the file's ops have to run on the NPU. `flash_kb` limits the compiled file, `ram_kb` the
    SRAM and `max_latency_ms` the time that Vela estimates of the NPU at `clock_mhz`; null is the system's clock.
    """

    accelerator: Accelerator = Accelerator.ethos_u55_128
    system_config: str = "Ethos_U55_High_End_Embedded"
    memory_mode: str = "Shared_Sram"
    config: ExistingPath | None = None
    optimise: Strategy = Strategy.Performance
    arena_cache_size_kb: Limit = None
    min_npu_op_percent: Annotated[float, within(gt=0, le=100)] = 1.0

    def ini(self) -> Path:
        """The configuration file. RequestError where Vela's own is not to be found."""
        return Path(self.config) if self.config is not None else vela_config.arm_ini()

    def vela_config(self) -> vela_config.VelaConfig:
        """What the configuration file holds. RequestError as for reading it."""
        return vela_config.read(self.ini())
