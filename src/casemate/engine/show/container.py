"""Docker's inspect document of a container."""

from __future__ import annotations

import os

from casemate.engine.life.states import container_dir, present_state, read_exit
from casemate.engine.options import options_from
from casemate.engine.show.times import rfc3339
from casemate.oci.quick_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.engine.life.states import Present
    from casemate.engine.options import ContainerOptions
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store

_NO_IMAGE = "sha256:" + "0" * 64


def inspect_container(store: Store, row: ContainerRow) -> dict[str, Any]:
    """The document; "Casemate" holds what docker has no key for.

    The id range, the relaxations, what is not enforced.
    """
    record: dict[str, Any] = loads(row.config, what="container record")
    options = options_from(record["options"])
    present = present_state(store.paths, row)
    directory = container_dir(store.paths, row.id)
    argv = record["argv"]
    return {
        "Id": row.id,
        "Created": rfc3339(row.created_ns),
        "Path": argv[0],
        "Args": argv[1:],
        "State": _state(store, row, present),
        "Image": record["image"]["id"] or _NO_IMAGE,
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "LogPath": f"{directory}/log",
        "Name": f"/{row.name}",
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(record, options),
        "GraphDriver": _graph_driver(store, row, options),
        "Mounts": [_mount(mount) for mount in record["mounts"] if mount["type"] != "tmpfs"],
        "Config": _config(row, record, options),
        "NetworkSettings": _network(record, present),
        "Casemate": _own(store, row, record),
    }


def _state(store: Store, row: ContainerRow, present: Present) -> dict[str, Any]:
    ended = read_exit(store.paths, row.id) if present.status == "exited" else None
    is_up = present.status in {"running", "paused"}
    return {
        "Status": present.status,
        "Running": is_up,
        "Paused": present.status == "paused",
        "Restarting": False,
        "OOMKilled": ended is not None and ended.oom_killed,
        "Dead": present.status == "dead",
        "Pid": present.pid if is_up else 0,
        "ExitCode": 0 if is_up else present.exit_code,
        "Error": f"{ended.dropped} bytes of output were dropped: the disk was full"
        if ended and ended.dropped
        else "",
        "StartedAt": rfc3339(row.started_ns),
        "FinishedAt": rfc3339(0 if is_up else present.finished_ns),
    }


def _host_config(record: dict[str, Any], options: ContainerOptions) -> dict[str, Any]:
    return {
        "Binds": _binds(record["mounts"]) or None,
        "ContainerIDFile": options.cidfile or "",
        "LogConfig": {
            "Type": "local",
            "Config": {
                "max-size": str(options.log_max_bytes or 10 << 20),
                "max-file": str(options.log_files or 3),
            },
        },
        "NetworkMode": options.network,
        "PortBindings": {},
        "RestartPolicy": {"Name": options.restart or "no", "MaximumRetryCount": 0},
        "AutoRemove": options.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": None,
        "CapAdd": options.cap_add or None,
        "CapDrop": options.cap_drop or None,
        "CgroupnsMode": "private",
        "Dns": options.dns,
        "DnsOptions": options.dns_options,
        "DnsSearch": options.dns_search,
        "ExtraHosts": options.extra_hosts or None,
        "GroupAdd": options.groups or None,
        "IpcMode": "private",
        "Cgroup": "",
        "Links": None,
        "OomScoreAdj": options.oom_score_adj if options.oom_score_adj is not None else 500,
        "PidMode": "",
        "Privileged": options.privileged,
        "PublishAllPorts": options.publish_all,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": options.security_opt or None,
        "Tmpfs": {entry.target: ",".join(entry.options) for entry in options.tmpfs},
        "UTSMode": "",
        "UsernsMode": "" if options.userns == "auto" else options.userns,
        "ShmSize": options.shm_size_bytes or 64 << 20,
        "Sysctls": options.sysctls,
        "Runtime": "casemate",
        "Isolation": "",
        "Init": options.init,
        **_limits(options),
    }


def _limits(options: ContainerOptions) -> dict[str, Any]:
    return {
        "CpuShares": options.cpu_shares or 0,
        "Memory": options.memory_bytes or 0,
        "NanoCpus": int((options.cpus or 0) * 10**9),
        "CpusetCpus": options.cpuset_cpus or "",
        "Devices": [
            {
                "PathOnHost": parts[0],
                "PathInContainer": parts[1] if len(parts) > 1 else parts[0],
                "CgroupPermissions": "rwm",
            }
            for parts in (device.split(":") for device in options.devices)
        ],
        "MemoryReservation": options.memory_reservation_bytes or 0,
        "MemorySwap": options.memory_swap_bytes or options.memory_bytes or 0,
        "OomKillDisable": False,
        "PidsLimit": options.pids_limit if options.pids_limit is not None else 2048,
        "Ulimits": [
            {"Name": name, "Soft": pair[0], "Hard": pair[1]} for name, pair in sorted(options.ulimits.items())
        ],
    }


def _binds(mounts: list[dict[str, Any]]) -> list[str]:
    return [
        f"{mount.get('name') or mount['source']}:{mount['target']}{':ro' if mount.get('ro') else ''}"
        for mount in mounts
        if mount["type"] != "tmpfs" and not mount.get("anonymous")
    ]


def _mount(mount: dict[str, Any]) -> dict[str, Any]:
    found = {
        "Type": mount["type"],
        "Source": mount["source"],
        "Destination": mount["target"],
        "Mode": ",".join(mount.get("options", ())),
        "RW": not mount.get("ro"),
        "Propagation": "rprivate" if mount["type"] == "bind" else "",
    }
    if mount["type"] == "volume":
        found["Name"] = mount["name"]
        found["Driver"] = "local"
    return found


def _config(row: ContainerRow, record: dict[str, Any], options: ContainerOptions) -> dict[str, Any]:
    image = record["image"]
    return {
        "Hostname": record["hostname"],
        "Domainname": options.domainname or "",
        "User": record["user"],
        "AttachStdin": options.interactive and not options.detach,
        "AttachStdout": not options.detach,
        "AttachStderr": not options.detach,
        "ExposedPorts": {port: {} for port in image["ports"]} or None,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": options.interactive and not options.detach,
        "Env": _merged_env(image["env"], record["env"]),
        "Cmd": options.argv or (None if options.entrypoint is not None else image["cmd"]),
        "Healthcheck": image["healthcheck"],
        "Image": row.image_name,
        "Volumes": {path: {} for path in image["volumes"]} or None,
        "WorkingDir": options.workdir or image["workdir"],
        "Entrypoint": options.entrypoint if options.entrypoint is not None else image["entrypoint"],
        "OnBuild": None,
        "Labels": record["labels"],
        "StopSignal": f"{record['stop_signal']}",
        "StopTimeout": options.stop_timeout_s,
    }


def _merged_env(image: list[str], given: list[str]) -> list[str]:
    merged = {entry.partition("=")[0]: entry for entry in (*image, *given)}
    return list(merged.values())


def _network(record: dict[str, Any], present: Present) -> dict[str, Any]:
    name = record["network"]["name"]
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": f"/proc/{present.pid}/ns/net" if present.pid else "",
        "Ports": {},
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "MacAddress": "",
        "Networks": {
            name: {
                "NetworkID": name,
                "EndpointID": "",
                "Gateway": "",
                "IPAddress": "",
                "IPPrefixLen": 0,
                "MacAddress": "",
            }
        },
    }


def _graph_driver(store: Store, row: ContainerRow, options: ContainerOptions) -> dict[str, Any]:
    if options.rootfs:
        return {"Name": "bind", "Data": {"Path": os.path.abspath(options.rootfs)}}
    root = store.snapshots.rootfs(row.id)
    return {
        "Name": "overlay2",
        "Data": {"LowerDir": ":".join(root.lowers), "UpperDir": root.upper or "", "WorkDir": root.work or ""},
    }


def _own(store: Store, row: ContainerRow, record: dict[str, Any]) -> dict[str, Any]:
    base = store.ranges.find(row.id)
    return {
        "Relaxations": record["relaxed"],
        "Notes": record["notes"],
        "NotEnforced": record.get("unenforced", []),
        "UidRange": {"First": base, "Count": 65536} if base is not None else None,
        "ImageDigest": row.image_digest,
    }
