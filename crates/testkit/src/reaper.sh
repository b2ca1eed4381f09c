# Stops the PostgreSQL of the tests once no test process has been there for a while.
# Arguments: folder, postmaster.pid, seconds to wait.
home=$1 pid_file=$2 grace=$3
trap '' HUP INT
cd / || exit 1

# One reaper is enough. The lock goes with this process.
exec 7>"$home/reaper.lock" 8>"$home/start.lock" 9>"$home/holders.lock"
flock -n -x 7 || exit 0

server() { head -n 1 "$pid_file" 2>/dev/null; }

idle=0
while :; do
  if [ -z "$(server)" ]; then
    # It ended without us. Somebody may be starting another one: then that is ours to watch.
    flock -x 8
    [ -n "$(server)" ] || exit 0
    flock -u 8
  fi
  if flock -n -x 9; then
    idle=$((idle + 1))
    if [ "$idle" -gt "$grace" ] && flock -n -x 8; then
      # Both locks are held until the server is gone: whoever comes now waits, and starts it anew.
      pid=$(server)
      [ -z "$pid" ] || kill -INT "$pid"
      while [ -n "$(server)" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
      rm -f "$home/state.json"
      exit 0
    fi
    flock -u 9
  else
    idle=0
  fi
  sleep 1 7>&- 8>&- 9>&-
done
