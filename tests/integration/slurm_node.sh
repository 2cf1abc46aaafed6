#!/usr/bin/env bash
# A Slurm of one node on this machine, for trials: slurm_node.sh start|stop FOLDER
# From Debian: apt-get install --no-install-recommends slurm-wlm munge. Needs root. Nothing is kept but in FOLDER.
set -euo pipefail
action=$1 folder=$2
export SLURM_CONF=$folder/slurm.conf

stop() {
  for name in slurmd slurmctld; do
    [ -f "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
  done
  [ -f "$folder/munged.pid" ] && kill "$(cat "$folder/munged.pid")" 2>/dev/null || true
}

start() {
  mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
  chmod 755 "$folder" && chown munge "$folder/munge" && chmod 755 "$folder/munge"
  if [ ! -f /etc/munge/munge.key ]; then
    dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key status=none
    chown munge:munge /etc/munge/munge.key && chmod 400 /etc/munge/munge.key
  fi
  mkdir -p /run/munge && chown munge:munge /run/munge
  if [ ! -S /run/munge/munge.socket.2 ]; then
    runuser -u munge -- munged --pid-file="$folder/munge/munged.pid" --log-file="$folder/munge/munged.log" --force
    ln -sf "$folder/munge/munged.pid" "$folder/munged.pid"
  fi
  local host
  host=$(hostname -s)
  cat > "$SLURM_CONF" <<CONF
ClusterName=trial
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
KillWait=10
MinJobAge=300
SchedulerParameters=sched_interval=2,batch_sched_delay=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=trial Nodes=$host Default=YES MaxTime=1:00:00 State=UP
CONF
  slurmctld -i
  slurmd
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && return
    sleep 0.5
  done
  echo "the node did not come up: see $folder" >&2
  exit 1
}

case $action in
  start) start ;;
  stop) stop ;;
  *) echo "usage: $0 start|stop FOLDER" >&2; exit 2 ;;
esac
