// For `millrace worker`: the service's tasks, for processes that do nothing else. They read the same environment as the service.

import { type TaskModuleContext, redisStore } from "millrace";
import { openBackground } from "./background.ts";
import { readConfig } from "./config.ts";

export default async function weatherTasks({ database, opened }: TaskModuleContext) {
  const config = readConfig(process.env);
  const store = config.redisUrl === undefined ? undefined : opened.use(redisStore({ url: config.redisUrl }));
  const { tasks } = await openBackground({ config, database, store, opened });
  return tasks;
}
