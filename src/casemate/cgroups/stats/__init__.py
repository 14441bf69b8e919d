"""Usage figures of a group, the same keys for both versions.

    cpu     usage_ns user_ns system_ns periods throttled_periods throttled_ns burst_periods burst_ns
            v1 also: per_cpu_ns per_cpu_user_ns per_cpu_system_ns (a list each, by number of the cpu)
    cpuset  cpus mems (lists of numbers); v1 also the flags, by their file's name: cpu_exclusive memory_migrate ...
    memory  usage_bytes peak_bytes limit_bytes failures oom_kills anon_bytes file_bytes inactive_file_bytes
            swap_bytes kernel_bytes faults major_faults
            swap kernel kernel_tcp: {usage_bytes peak_bytes limit_bytes failures}; swap counts memory and swap together
            raw: all of memory.stat, in the kernel's words
    pids    current limit
    io      a list of {device ("8:0"), read_bytes, write_bytes, reads, writes}
    io_tables  name (service_bytes serviced queued service_time wait_time merged time sectors cost.usage ...)
            -> a list of {major, minor, op ("Read", "Write", ...; "" where the kernel tells none), value}
    hugetlb {"2MB": {usage_bytes, peak_bytes (v1), failures}}
    rdma    {device: {"current": {hca_handles, hca_objects}, "limit": the same}}
    misc    {resource: {"current": n, "limit": n}} (v2)
    psi     {"cpu" | "memory" | "io": {"some" | "full": {avg10, avg60, avg300, total_us}}}

A figure that this kernel does not give is absent, a controller without figures too; a limit is None when there is
none.
"""
