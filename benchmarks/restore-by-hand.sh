#!/bin/bash
# The documented steps of a restore of a kubeadm cluster from one snapshot, as people do them over SSH without the
# collection: bring the snapshot to all masters; stop the API servers and their clients, then etcd; restore every member;
# start etcd, then the API servers, then restart the kubelets. Each step is done on all masters at once, and the next
# begins when it is done on all. No proof, no way back, and no sleep either. It stops at the first step that fails.
#
#   restore-by-hand.sh SSH_CONFIG SNAPSHOT MASTER...
#
# Names are those of the SSH configuration. Prints each step and when it began.
set -eu
ssh_config=$1 snapshot=$2
shift 2
manifests=/etc/kubernetes/manifests aside=/root/manifests token=restored-$(date +%s)

on() {
  local host=$1
  shift
  ssh -F "$ssh_config" "$host" "sudo sh -ec '$*'"
}

everywhere() {
  local host one running=()
  echo "== $SECONDS s: $*"
  for host in "${masters[@]}"; do
    on "$host" "$*" </dev/null &
    running+=($!)
  done
  for one in "${running[@]}"; do wait "$one"; done
}

# Ends when the processes of static pods whose manifests were taken away have ended.
gone() {
  everywhere "for pid in \$(pgrep -f \"^($1) \"); do tail --pid=\$pid -s 0.1 -f /dev/null; done"
}

masters=("$@") cluster=""
everywhere "mkdir $aside && cp /proc/\$(pgrep -xo etcd)/root/usr/local/bin/etcd?tl /root"
for host in "${masters[@]}"; do
  on "$host" "cat >/root/snapshot.db" <"$snapshot"
  cluster=$cluster,$host=$(on "$host" "sed -n s,.*--initial-advertise-peer-urls=,,p $manifests/etcd.yaml" </dev/null)
done

everywhere "mv $manifests/kube-*.yaml $aside"
gone "kube-apiserver|kube-controller-manager|kube-scheduler"
everywhere "mv $manifests/etcd.yaml $aside"
gone etcd
everywhere "/root/etcdutl snapshot restore /root/snapshot.db --data-dir /var/lib/etcd-restored \
  --name \$(hostname) --initial-cluster ${cluster#,} --initial-cluster-token $token \
  --initial-advertise-peer-urls \$(sed -n s/.*--initial-advertise-peer-urls=//p $aside/etcd.yaml) \
  --bump-revision 1000000000 --mark-compacted 2>/dev/null"
everywhere "mv /var/lib/etcd /var/lib/etcd-before && mv /var/lib/etcd-restored /var/lib/etcd"
everywhere "mv $aside/etcd.yaml $manifests"
pki=/etc/kubernetes/pki/etcd
everywhere "until /root/etcdctl --cacert $pki/ca.crt --cert $pki/healthcheck-client.crt \
  --key $pki/healthcheck-client.key endpoint health >/dev/null 2>&1; do :; done"
everywhere "mv $aside/kube-*.yaml $manifests"
everywhere "curl -fsk --retry 300 --retry-delay 1 --retry-all-errors https://127.0.0.1:6443/readyz >/dev/null 2>&1"
everywhere "systemctl restart kubelet"
echo "== $SECONDS s: done"
