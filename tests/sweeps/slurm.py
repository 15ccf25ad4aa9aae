"""A Slurm of this machine's own: one controller, one node, nothing installed beyond the packages' files."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CryptoType=crypto/none
CredType=cred/none
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=5
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def absent():
    """Which programs are missing here; also those who cannot start a controller."""
    found = [name for name in PROGRAMS if find(name) is None]
    return found if os.getuid() == 0 else [*found, "root"]


def find(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@contextmanager
def cluster(folder, cpus=2):
    """The environment in which commands see the cluster."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    conf.write_text(CONF.format(host=host, folder=folder, ports=free_ports(2), cpus=cpus))
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    daemons = [
        subprocess.Popen([find("slurmctld"), "-D", "-c", "-f", str(conf)], env=environment, stderr=subprocess.DEVNULL),
        subprocess.Popen(
            [find("slurmd"), "-D", "-f", str(conf), "-N", host], env=environment, stderr=subprocess.DEVNULL
        ),
    ]
    try:
        idle = lambda: "idle" in ask("sinfo", "--noheader", "--format=%T", environment=environment)  # noqa: E731
        assert wait_for(idle, 60), "the node of the test's Slurm did not come up"
        yield environment
    finally:
        ask("scancel", "--user=root", environment=environment)
        wait_for(lambda: not ask("squeue", "--noheader", environment=environment), 20)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(5)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def wait_for(condition, seconds):
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def ask(*command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
