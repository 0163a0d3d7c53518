#!/bin/bash
# The documented steps of a kubeadm upgrade to the next minor, typed one after the other over SSH: what people do
# without the collection. No gate, no snapshot, no report, and no sleep either. It stops at the first step that fails.
#
#   upgrade-by-hand.sh SSH_CONFIG VERSION IGNORED_PREFLIGHT_ERRORS MASTER... -- WORKER...
#
# Names are those of the SSH configuration and of the nodes. Prints each step, and how long each node took.
set -eu
ssh_config=$1 version=$2 ignored=$3
shift 3
first=$1 minor=${version%.*}

on() {
  local host=$1
  shift
  echo "== $SECONDS s, $host: $*"
  ssh -F "$ssh_config" "$host" "sudo sh -ec '$*'" </dev/null
}

kubectl() {
  on "$first" "kubectl --kubeconfig=/etc/kubernetes/admin.conf $*"
}

install() {
  local host=$1 wanted="" package
  shift
  for package in "$@"; do wanted="$wanted $package=$version-*"; done
  on "$host" "apt-mark unhold $* && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y $wanted && apt-mark hold $*"
}

upgrade() {
  local host=$1 began=$SECONDS
  shift
  on "$host" "sed -i s,/v[0-9.]*/deb,/v$minor/deb, /etc/apt/sources.list.d/kubernetes.list"
  install "$host" kubeadm
  on "$host" "kubeadm upgrade $* --ignore-preflight-errors=$ignored"
  kubectl drain "$host" --ignore-daemonsets
  install "$host" kubelet kubectl
  on "$host" "systemctl daemon-reload && systemctl restart kubelet"
  kubectl uncordon "$host"
  kubectl wait --timeout=300s "--for=jsonpath={.status.nodeInfo.kubeletVersion}=v$version" "node/$host"
  kubectl wait --timeout=300s --for=condition=Ready "node/$host"
  echo "node $host $((SECONDS - began))"
}

for host in "$@"; do
  case $host in
    --) ;;
    "$first") upgrade "$host" apply "v$version" --yes ;;
    *) upgrade "$host" node ;;
  esac
done
