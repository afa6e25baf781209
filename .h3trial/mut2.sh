cd /work/main
m() { echo "## $2 => $3"; bash .h3trial/mutate.sh "$@"; }
T=test/migrations/migrations.test.ts
m src/database/migrations.ts 'client.release(true)' 'client.release()' $T
m src/database/migrations.ts 'if (rows[0]!.locked) return;' 'return;' $T
T=test/loading/loader.test.ts
m src/database/loader.ts 'byContext.get(context ?? noContext)' 'byContext.get(noContext)' $T
m src/database/loader.ts 'byPrincipal.get(principal)' 'byPrincipal.get("x")' $T
m src/database/loader.ts 'const remembers = context !== undefined &&' 'const remembers = ' $T
