# usage: mutate.sh file 'python-old' 'python-new' test...
f=$1; old=$2; new=$3; shift 3
rm -rf /tmp/h3/copy; mkdir -p /tmp/h3/copy/test; cp -r src package.json tsconfig.json /tmp/h3/copy/; ln -s /work/main/node_modules /tmp/h3/copy/node_modules
cp -r test/harness test/keyset test/loading test/migrations /tmp/h3/copy/test/ 2>/dev/null
cd /tmp/h3/copy
OLD="$old" NEW="$new" python3 - "$f" <<'P'
import os,sys
p=sys.argv[1]; s=open(p).read(); o=os.environ["OLD"]; assert s.count(o)>=1,("not found",o); open(p,"w").write(s.replace(o,os.environ["NEW"],1))
P
timeout 40 node_modules/.bin/node --conditions=millrace-source --test "$@" 2>&1 | grep -E "^\s*✖|^ℹ (pass|fail)" | sort -u | head -12
