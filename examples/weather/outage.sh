#!/bin/sh
# The API that makes forecasts fails, and comes back: FORECAST_TTL=2s npm start, then sh examples/weather/outage.sh URL SIMULATOR, both as the
# banner says. The tests run it.
set -eu
base=${1:-http://127.0.0.1:3000}
weather=$2
json='content-type: application/json'
show() { curl -si "$base/cities/$1/forecast" | grep -i -E '^(HTTP|age|cache-status|retry-after)'; }

# #region curls
show 5809844 # a forecast, fetched or from the cache
curl -fs -X PUT -H "$json" -d '{"outage":true}' "$weather/admin/weather"
sleep 3
show 5809844 # past its time: it is still served, and Age and Cache-Status say so
show 5128581 # never fetched: 503 with Retry-After
curl -fs "$base/cities/5128581" # everything else goes on
curl -fs -X PUT -H "$json" -d '{}' "$weather/admin/weather"
sleep 3
show 5809844 # fetched anew
# #endregion
