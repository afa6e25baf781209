#!/bin/sh
# A report posted in one process, read in another: sh examples/weather/two-processes.sh [url] [url]. The tests run it.
set -eu
a=${1:-http://127.0.0.1:3000}
b=${2:-http://127.0.0.1:3001}

json='content-type: application/json'
user='{"email":"ada+'$$'@example.org","password":"a good password","name":"Ada"}'
curl -fs -o /dev/null -H "$json" -d "$user" "$a/users"
session=$(curl -fs -H "$json" -d "$(echo "$user" | sed 's/,"name".*/}/')" "$a/sessions")
auth="authorization: Bearer $(echo "$session" | sed 's/.*"token":"\([^"]*\)".*/\1/')"
for _ in 1 2 3; do curl -fs -o /dev/null "$b/cities/5809844/reports"; sleep 0.5; done

# #region curls
curl -si "$b/cities/5809844/reports" | grep -i '^cache-status' # a hit
token=$(curl -si -H "$auth" -H "$json" -d '{"cityId":5809844,"text":"Rain."}' "$a/reports" | tr -d '\r' | grep -i '^freshness-token')
curl -si "$b/cities/5809844/reports" -H "$token" | grep -i -e '^cache-status' -e 'Rain\.' # its author sees it at once
# #endregion
sleep 1
curl -si "$b/cities/5809844/reports" | grep -i -e '^cache-status' -e 'Rain\.' # and everyone else within a second
