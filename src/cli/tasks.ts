// `millrace tasks`: the group of commands about tasks. See docs/tasks.md.

import { Command } from "commander";
import { tasksCancel, tasksDiscard, tasksPause, tasksResume, tasksRetry } from "./tasks-change.ts";
import { tasksDead, tasksList, tasksQueues } from "./tasks-list.ts";
import { tasksShow } from "./tasks-show.ts";

export function tasks(): Command {
  const group = new Command("tasks").description("tasks that wait, run, or were given up");
  const commands = [
    tasksQueues(),
    tasksList(),
    tasksDead(),
    tasksShow(),
    tasksRetry(),
    tasksDiscard(),
    tasksCancel(),
    tasksPause(),
    tasksResume(),
  ];
  for (const command of commands) group.addCommand(command);
  return group;
}
