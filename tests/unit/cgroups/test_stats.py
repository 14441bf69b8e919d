"""Control files become the figures that ``casemate.cgroups.stats`` lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casemate.cgroups.stats.figures import huge_page_sizes, parse_pairs, parse_psi, parse_rdma
from casemate.cgroups.stats.v1 import by_device, parse_blkio, read_v1
from casemate.cgroups.stats.v2 import io_tables, parse_io_stat, read_v2

if TYPE_CHECKING:
    from pathlib import Path

IO_STAT = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0 cost.usage=9\n9:0\n"
PRESSURE = (
    "some avg10=1.50 avg60=0.20 avg300=0.00 total=12345\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
)


def fill(directory: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (directory / name).write_text(text, encoding="ascii")
    return str(directory)


def test_pairs_pass_over_what_is_no_number() -> None:
    assert parse_pairs("usage_usec 12\nuser_usec 7\nodd\nbad x\n") == {"usage_usec": 12, "user_usec": 7}


def test_io_stat_is_one_entry_a_device_and_one_table_a_kind() -> None:
    assert parse_io_stat(IO_STAT) == [
        {"device": "8:0", "read_bytes": 1, "write_bytes": 2, "reads": 3, "writes": 4}
    ]
    assert io_tables(IO_STAT) == {
        "service_bytes": [
            {"major": 8, "minor": 0, "op": "Read", "value": 1},
            {"major": 8, "minor": 0, "op": "Write", "value": 2},
        ],
        "serviced": [
            {"major": 8, "minor": 0, "op": "Read", "value": 3},
            {"major": 8, "minor": 0, "op": "Write", "value": 4},
        ],
        "cost.usage": [{"major": 8, "minor": 0, "op": "Count", "value": 9}],
    }


def test_blkio_rows_leave_the_sum_out() -> None:
    rows = parse_blkio("8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n8:16 5\nbroken\n")
    assert rows == [
        {"major": 8, "minor": 0, "op": "Read", "value": 10},
        {"major": 8, "minor": 0, "op": "Write", "value": 20},
        {"major": 8, "minor": 0, "op": "Total", "value": 30},
        {"major": 8, "minor": 16, "op": "", "value": 5},
    ]
    counts = parse_blkio("8:0 Read 1\n8:0 Write 2\n")
    assert by_device({"service_bytes": rows, "serviced": counts}) == [
        {"device": "8:0", "read_bytes": 10, "write_bytes": 20, "reads": 1, "writes": 2}
    ]


def test_pressure_has_some_and_full() -> None:
    found = parse_psi(PRESSURE)
    assert found["some"] == {"avg10": 1.5, "avg60": 0.2, "avg300": 0.0, "total_us": 12345}
    assert found["full"]["total_us"] == 7
    assert parse_psi("") == {}


def test_rdma_limits_of_max_are_none() -> None:
    assert parse_rdma("mlx5_0 hca_handle=2 hca_object=max\nodd\n") == {
        "mlx5_0": {"hca_handles": 2, "hca_objects": None}
    }


def test_a_v2_group_with_every_controller_gives_all_figures(tmp_path: Path) -> None:
    found = read_v2(
        fill(
            tmp_path,
            {
                "cpu.stat": "usage_usec 3\nuser_usec 2\nsystem_usec 1\nnr_periods 4\nnr_throttled 1\n"
                "throttled_usec 5\nnr_bursts 6\nburst_usec 7\n",
                "cpuset.cpus.effective": "0-1\n",
                "cpuset.mems.effective": "0\n",
                "memory.current": "1000\n",
                "memory.peak": "2000\n",
                "memory.max": "4096\n",
                "memory.swap.current": "10\n",
                "memory.swap.max": "100\n",
                "memory.swap.events": "high 0\nmax 3\nfail 0\n",
                "memory.stat": "anon 5\nfile 6\npgfault 7\nworkingset_refault_anon 8\n",
                "memory.events": "low 0\nmax 2\noom 1\noom_kill 1\n",
                "memory.pressure": PRESSURE,
                "pids.current": "2\n",
                "pids.max": "max\n",
                "io.stat": IO_STAT,
                "hugetlb.2MB.current": "0\n",
                "hugetlb.2MB.rsvd.current": "2097152\n",
                "hugetlb.2MB.events": "max 1\n",
                "rdma.current": "mlx5_0 hca_handle=1 hca_object=2\n",
                "rdma.max": "mlx5_0 hca_handle=max hca_object=3\n",
                "misc.current": "res_a 1\n",
                "misc.max": "res_a max\n",
            },
        )
    )
    assert found["cpu"] == {
        "usage_ns": 3000, "user_ns": 2000, "system_ns": 1000, "periods": 4, "throttled_periods": 1,
        "throttled_ns": 5000, "burst_periods": 6, "burst_ns": 7000,
    }  # fmt: skip
    assert found["cpuset"] == {"cpus": [0, 1], "mems": [0]}
    memory = found["memory"]
    assert memory["raw"] == {"anon": 5, "file": 6, "pgfault": 7, "workingset_refault_anon": 8}
    assert memory["swap"] == {"usage_bytes": 1010, "limit_bytes": 4196, "failures": 3}
    assert (memory["limit_bytes"], memory["failures"], memory["oom_kills"]) == (4096, 2, 1)
    assert found["pids"] == {"current": 2, "limit": None}
    assert found["hugetlb"] == {"2MB": {"usage_bytes": 2097152, "failures": 1}}
    assert found["rdma"]["mlx5_0"]["limit"] == {"hca_handles": None, "hca_objects": 3}
    assert found["misc"] == {"res_a": {"current": 1, "limit": None}}
    assert list(found["psi"]) == ["memory"]
    assert found["io"][0]["device"] == "8:0"


def test_a_v2_group_without_controllers_counts_its_processes(tmp_path: Path) -> None:
    directory = fill(tmp_path, {"cgroup.procs": "5\n6\n", "cpu.stat": "usage_usec 1\n"})
    assert read_v2(directory) == {"cpu": {"usage_ns": 1000}, "pids": {"current": 2, "limit": None}}


def test_a_v1_group_gives_counters_per_cpu_figures_and_hugetlb(tmp_path: Path) -> None:
    directory = fill(
        tmp_path,
        {
            "cpuacct.usage": "9\n",
            "cpuacct.usage_percpu": "4 5 \n",
            "cpuacct.usage_all": "cpu user system\n0 1 3\n1 2 3\n",
            "cpuset.cpus": "0-1\n",
            "cpuset.mems": "0\n",
            "cpuset.sched_relax_domain_level": "-1\n",
            "memory.usage_in_bytes": "100\n",
            "memory.limit_in_bytes": "9223372036854771712\n",
            "memory.memsw.usage_in_bytes": "120\n",
            "memory.memsw.limit_in_bytes": "4096\n",
            "memory.memsw.failcnt": "1\n",
            "memory.kmem.usage_in_bytes": "7\n",
            "memory.stat": "cache 1\ntotal_cache 2\n",
            "hugetlb.2MB.usage_in_bytes": "1\n",
            "hugetlb.2MB.max_usage_in_bytes": "2\n",
            "hugetlb.2MB.failcnt": "3\n",
        },
    )
    found = read_v1(lambda _: directory)
    assert found["cpu"]["per_cpu_ns"] == [4, 5]
    assert (found["cpu"]["per_cpu_user_ns"], found["cpu"]["per_cpu_system_ns"]) == ([1, 2], [3, 3])
    assert found["cpuset"] == {"cpus": [0, 1], "mems": [0], "sched_relax_domain_level": -1}
    assert found["memory"]["limit_bytes"] is None
    assert found["memory"]["swap"] == {"usage_bytes": 120, "limit_bytes": 4096, "failures": 1}
    assert found["memory"]["raw"] == {"cache": 1, "total_cache": 2}
    assert found["hugetlb"] == {"2MB": {"usage_bytes": 1, "peak_bytes": 2, "failures": 3}}


def test_page_sizes_come_from_the_files_of_the_group(tmp_path: Path) -> None:
    directory = fill(tmp_path, {"hugetlb.1GB.max": "", "hugetlb.2MB.max": "", "hugetlb.odd": ""})
    assert huge_page_sizes(directory) == ["1GB", "2MB"]
    assert huge_page_sizes(f"{directory}/none") == []
