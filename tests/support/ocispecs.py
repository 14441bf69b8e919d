"""A config.json in which every field of the runtime-spec stands: for tests of the schema and of what becomes of each field."""

from __future__ import annotations

from typing import Any

from casemate.runtime.schema.kinds import LIST, MAP, OBJECT


def rich_spec() -> dict[str, Any]:
    """Every field that the schema knows, with a value that is right. Not one container: no host could make it."""
    hook = {"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": True},
        "process": _process(),
        "hostname": "box",
        "domainname": "example.test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/data",
                "type": "bind",
                "source": "/srv",
                "options": ["rbind", "idmap"],
                "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            },
        ],
        "hooks": {
            kind: [dict(hook)]
            for kind in (
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            )
        },
        "annotations": {"com.example.key": "value"},
        "linux": _linux(),
        **{name: {} for name in ("windows", "solaris", "vm", "zos", "freebsd")},
    }


def _process() -> dict[str, Any]:
    names = ["CAP_KILL", "CAP_CHOWN"]
    return {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "cwd": "/",
        "env": ["PATH=/bin", "EMPTY="],
        "args": ["sh", "-c", ""],
        "commandLine": "sh",
        "user": {"uid": 1, "gid": 1, "umask": 63, "additionalGids": [5, 6], "username": "x"},
        "capabilities": {
            kind: list(names) for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
        },
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ],
        "noNewPrivileges": True,
        "oomScoreAdj": 100,
        "apparmorProfile": "some",
        "selinuxLabel": "system_u:system_r:container_t:s0",
        "scheduler": {
            "policy": "SCHED_BATCH",
            "nice": 5,
            "priority": 0,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "runtime": 0,
            "deadline": 0,
            "period": 0,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
        "execCPUAffinity": {"initial": "0", "final": "0-1"},
    }


def _linux() -> dict[str, Any]:
    return {
        "namespaces": [{"type": kind} for kind in ("mount", "pid", "uts", "ipc", "user", "cgroup", "time")]
        + [{"type": "network", "path": "/proc/1/ns/net"}],
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 1}, "boottime": {"secs": -5}},
        "devices": [
            {
                "path": "/dev/fuse",
                "type": "c",
                "major": 10,
                "minor": 229,
                "fileMode": 438,
                "uid": 0,
                "gid": 0,
            },
            {"path": "/dev/pipe", "type": "p"},
        ],
        "netDevices": {"eth0": {"name": "in%d"}, "eth1": {}},
        "cgroupsPath": "/a/b",
        "resources": _resources(),
        "rootfsPropagation": "slave",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent",
            "listenerMetadata": "x",
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 2,
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
                }
            ],
        },
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "system_u:object_r:container_file_t:s0",
        "intelRdt": {
            "closID": "group",
            "l3CacheSchema": "L3:0=7f",
            "memBwSchema": "MB:0=20",
            "schemata": ["L2:0=f"],
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX32", "flags": []},
    }


def _resources() -> dict[str, Any]:
    throttle = [{"major": 8, "minor": 0, "rate": 600}]
    return {
        "devices": [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
        "memory": {
            "limit": 1 << 30,
            "reservation": -1,
            "swap": 1 << 30,
            "kernel": -1,
            "kernelTCP": -1,
            "swappiness": 60,
            "disableOOMKiller": False,
            "useHierarchy": True,
            "checkBeforeUpdate": True,
        },
        "cpu": {
            "shares": 512,
            "quota": 50000,
            "burst": 1000,
            "period": 100000,
            "realtimeRuntime": 0,
            "realtimePeriod": 1000000,
            "cpus": "0-1",
            "mems": "0",
            "idle": 0,
        },
        "blockIO": {
            "weight": 100,
            "leafWeight": 100,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 100, "leafWeight": 100}],
            "throttleReadBpsDevice": throttle,
            "throttleWriteBpsDevice": throttle,
            "throttleReadIOPSDevice": throttle,
            "throttleWriteIOPSDevice": throttle,
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 1}]},
        "pids": {"limit": 100},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}},
        "unified": {"memory.high": "max"},
    }


def field_paths(rule: tuple[Any, ...], path: str = "") -> list[str]:
    """Return the path of every field that a rule knows, parents before children: `linux.devices[].path`."""
    if rule[0] == LIST:
        return field_paths(rule[1], f"{path}[]")
    if rule[0] == MAP:
        return field_paths(rule[1], f"{path}[NAME]")
    if rule[0] != OBJECT:
        return []
    found = []
    for name, below in rule[1].items():
        here = f"{path}.{name}" if path else name
        found += [here, *field_paths(below, here)]
    return found
