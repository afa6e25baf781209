#!/bin/sh
# Every endpoint once: sh examples/weather/try-it.sh [url]. The tests run it.

# #region try-it
base=${1:-http://127.0.0.1:3000}
curl "$base/cities?q=sao+p&limit=3"
curl "$base/cities?country=BR&limit=3"
curl "$base/cities/5809844"
curl "$base/cities/5809844/observations?from=2015-12-24&to=2015-12-26"
curl "$base/cities/5809844/normals?limit=24"
curl "$base/cities/5809844/months?limit=3"
curl "$base/cities/5809844/forecast"
curl "$base/forecasts?cities=5809844,5128581"
curl "$base/observations/export?format=csv" | head -n 3

json='content-type: application/json'
email="ada+$$@example.org"
curl -H "$json" -d '{"email":"'"$email"'","password":"a good password","name":"Ada"}' "$base/users"
session=$(curl -s -H "$json" -d '{"email":"'"$email"'","password":"a good password"}' "$base/sessions")
auth="authorization: Bearer $(echo "$session" | sed 's/.*"token":"\([^"]*\)".*/\1/')"
curl -H "$auth" "$base/me"

report=$(curl -s -H "$auth" -H "$json" -d '{"cityId":5809844,"text":"Rain, of course.","temperature":9.5,"tags":["rain"]}' "$base/reports")
id=$(echo "$report" | sed 's/{"id":\([0-9]*\).*/\1/')
curl -H "$auth" -H "$json" -X PATCH -d '{"tags":["rain","wet"]}' "$base/reports/$id"
curl -H "$auth" -H "$json" -d '{"text":"Take an umbrella."}' "$base/reports/$id/comments"
curl "$base/reports/$id"
curl "$base/reports/$id/comments"
curl "$base/cities/5809844/reports?limit=5"
curl -H "$auth" -X DELETE "$base/reports/$id"

days='location,date,precipitation,temp_max,temp_min,wind,weather
Seattle,2012-01-01,0.0,12.8,5.0,4.7,drizzle'
uploaded=$(echo "$days" | curl -s -H "$auth" -F 'file=@-;filename=days.csv' "$base/imports")
import=$(echo "$uploaded" | sed 's/.*"id":"\([^"]*\)".*/\1/')
task=$(echo "$uploaded" | sed 's/.*"taskId":"\([^"]*\)".*/\1/')
curl -H "$auth" "$base/tasks/$task"
curl -N -H "$auth" "$base/tasks/$task/events" # until it is over
curl -H "$auth" "$base/imports/$import"
curl -H "$auth" "$base/imports/$import/report"
# #endregion
