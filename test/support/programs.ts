import { spawnSync } from "node:child_process";

/** Why a test is skipped: a program that is not there, or whose answer shows that it is another one of that name. */
export function lacks(program: string, question: string, answer: RegExp, debian: string): string | false {
  const { stdout, stderr } = spawnSync(program, [question], { encoding: "utf8", env: senderEnvironment() });
  return answer.test(`${stdout}${stderr}`) ? false : `there is no ${program} of Debian's package ${debian}`;
}

/** Daemons are in folders that only root's PATH has. */
export function senderEnvironment() {
  return { ...(process.env as Record<string, string>), PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };
}

export interface Line<Level> {
  level: Level;
  /** On Monolog's scale. */
  expected: number;
  text: string;
}

/** Numbered messages, whose levels take turns. */
export function numbered<Level extends string>(levels: Record<Level, number>, from = 0): Line<Level>[] {
  const pairs = Object.entries<number>(levels) as [Level, number][];
  return Array.from({ length: 5 * pairs.length }, (_, at) => {
    const [level, expected] = pairs[at % pairs.length] as [Level, number];
    return { level, expected, text: `message ${from + at}: größer, «日本» 🎉 "a\\b" <7> x=1` };
  });
}
