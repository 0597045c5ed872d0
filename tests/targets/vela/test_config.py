"""Vela's `.ini` files: what they define, and which memory modes an accelerator can have."""

import pytest
from support.checkout import write

from tflite_recipes.core.errors import RequestError
from tflite_recipes.targets.vela import config as vela_config

BOARD = """
[System_Config.Board]
core_clock=400e6
axi0_port=Sram
axi1_port=OffChipFlash
Sram_clock_scale=1.0
OffChipFlash_burst_length=128
[System_Config.Slow]
inherit=System_Config.Board
core_clock=160e6
[System_Config.Large]
core_clock=1e9
axi0_port=Sram
axi1_port=Dram
Sram_clock_scale=1.0
Dram_clock_scale=0.75
[System_Config.Silent]
axi0_port=Sram
axi1_port=Dram
Dram_clock_scale=0.75
[Memory_Mode.All_Sram]
const_mem_area=Axi0
arena_mem_area=Axi0
cache_mem_area=Axi0
[Memory_Mode.Shared]
inherit=Memory_Mode.All_Sram
const_mem_area=Axi1
[Memory_Mode.Dedicated]
inherit=Memory_Mode.Shared
arena_mem_area=Axi1
arena_cache_size=65536
[Memory_Mode.Torn]
const_mem_area=Axi0
arena_mem_area=Axi1
cache_mem_area=Axi0
[Memory_Mode.Cache_Outside]
const_mem_area=Axi1
arena_mem_area=Axi0
cache_mem_area=Axi1
"""


@pytest.fixture
def board(tmp_path):
    return vela_config.read(write(tmp_path / "board.ini", BOARD))


def test_sections_inherit(board):
    assert list(board.systems) == ["Board", "Slow", "Large", "Silent"]
    assert (board.systems["Slow"].clock_mhz, board.systems["Slow"].ports["Axi1"]) == (160.0, "OffChipFlash")
    assert board.modes["Dedicated"] == vela_config.MemoryMode("Dedicated", "Axi1", "Axi1", "Axi0")


@pytest.mark.parametrize(
    ("system", "mode", "accelerator", "why"),
    [
        ("Board", "All_Sram", "ethos-u55-128", ""),
        ("Board", "Shared", "ethos-u55-128", ""),
        ("Board", "Dedicated", "ethos-u65-256", "arena in OffChipFlash, which cannot be written"),
        ("Large", "Dedicated", "ethos-u65-256", ""),
        ("Large", "Dedicated", "ethos-u55-128", "an Ethos-U55 only reads"),
        ("Large", "Shared", "ethos-u55-128", ""),
        ("Large", "Torn", "ethos-u85-256", "constants in Sram apart"),
        ("Silent", "Shared", "ethos-u65-256", "Silent has no line on Sram, such as Sram_clock_scale=1.0"),
        ("Board", "Cache_Outside", "ethos-u55-128", "cache in OffChipFlash"),
    ],
)
def test_a_memory_mode_that_cannot_be_had_says_why(board, system, mode, accelerator, why):
    found = vela_config.unfit(board.systems[system], board.modes[mode], accelerator)
    assert why in found
    assert bool(why) == bool(found)


@pytest.mark.parametrize("mode", ["All_Sram", "Shared", "Dedicated"])
def test_weights_lie_in_sram_where_the_mode_says_so(board, mode):
    assert vela_config.constants_in_sram(board.systems["Board"], board.modes[mode]) == (mode == "All_Sram")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no section", "no section headers"),
        ("[Memory_Mode.A]\n", "defines no system"),
        ("[System_Config.A]\ncore_clock=1e6\n", "defines no memory mode"),
        ("[System_Config.A]\ncore_clock=fast\n", "could not convert"),
        ("[System_Config.A]\ncore_clock=-1\n", "no frequency"),
        ("[System_Config.A]\ninherit=System_Config.B\n", "which is not there"),
        ("[System_Config.A]\ninherit=System_Config.A\n", "inherits from itself"),
    ],
)
def test_what_is_no_configuration_file_is_refused(tmp_path, text, why):
    with pytest.raises(RequestError, match=why) as raised:
        vela_config.read(write(tmp_path / "board.ini", text))
    assert [problem.where for problem in raised.value.problems] == ["target.config"]


def test_families_are_told_from_names():
    names = ("ethos-u55-128", "Ethos_U85_SYS_DRAM_Mid", "My_Board", "")
    assert [vela_config.family(name) for name in names] == ["u55", "u85", "", ""]


def test_velas_own_file_has_what_the_defaults_name():
    from tflite_recipes.steps import ethos_u_checks

    assert vela_config.installed()
    config = vela_config.read(vela_config.arm_ini())
    for system, mode in ethos_u_checks.DEFAULTS.values():
        assert system in config.systems
        assert mode in config.modes
    assert config.systems["Ethos_U55_High_End_Embedded"].clock_mhz == 500.0
