"""A Ray cluster of two nodes on this machine, each with its own raylet. Run as a script: prints the address; then each
line that it reads is a command: ``kill`` ends the second node as a power cut would, ``end`` the cluster."""

import os
import signal
import sys

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", RAY_enable_metrics_collection="0"
)


def children(pid):
    """All processes below one, by /proc."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(entry), *children(int(entry))]
    return found


def main():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            raylets = [info.process.pid for info in second.all_processes["raylet"]]
            doomed = [pid for raylet in raylets for pid in [raylet, *children(raylet)]]
            for pid in doomed:
                os.kill(pid, signal.SIGKILL)
            print(f"killed {len(doomed)}", flush=True)
        else:
            break
    cluster.shutdown()
    print("ended", flush=True)


if __name__ == "__main__":
    main()
