import assert from "node:assert/strict";
import type { LineParser, LogRecord } from "../../collector.ts";
import { NOW, timeAt } from "./lines.ts";

/** A line, its level, and what else its record must have; a time is in UTC, or NONE. */
type Sample = [line: string, level: number, expected?: Expected];
interface Expected extends Partial<Pick<LogRecord, "message" | "host" | "app">> {
  time?: string;
  attributes?: object | undefined;
}

const NONE = "none";
const T = "2026-11-22T10:00:00Z";
const T1 = "2026-11-22T10:00:00.1Z";
const MS = "2026-11-22T10:00:00.123Z";

/** Lines as programs print them, by the kind of what makes them hard; the collector's zone is UTC, and it is the day after. */
export const CORPUS: Record<string, Sample[]> = {
  "times in a zone of their own": [
    ["2026-07-01 10:00:00 CEST x", 200, { time: "2026-07-01T08:00:00Z" }],
    ["2026-07-01 10:00:00 PDT x", 200, { time: "2026-07-01T17:00:00Z" }],
    ["2026-07-01 10:00:00 -03 x", 200, { time: "2026-07-01T13:00:00Z" }],
    ["2026-07-01 10:00:00-03 x", 200, { time: "2026-07-01T13:00:00Z" }],
    ["2026-07-01 02:00:00 PM x", 200, { time: "2026-07-01T14:00:00Z" }],
    ["2026-07-01 2:00:00 PM x", 200, { time: "2026-07-01T14:00:00Z" }],
    ["2026-07-01 12:00:00 AM x", 200, { time: "2026-07-01T00:00:00Z" }],
    ["2014-12-19 00:02:40 GMT+3 x", 200, { time: "2014-12-18T21:02:40Z" }],
    ["2026-11-22 10:00:00 UTC-5 [12] ERROR:  x", 400, { time: "2026-11-22T15:00:00Z" }],
    ["2026-11-22 10:00:00 UTC+05:30 x", 200, { time: "2026-11-22T04:30:00Z" }],
    ["2026-11-22 10:00:00 IST x", 200, { time: NONE }],
    ["2026-11-22 10:00:00 JST ERROR x", 400, { time: "2026-11-22T01:00:00Z" }],
    ["2026-11-22 10:00:00.123 CET [12] ERROR:  x", 400, { time: "2026-11-22T09:00:00.123Z" }],
    ["2026-11-22 10:00:00 Europe/Berlin x", 200, { time: "2026-11-22T09:00:00Z" }],
    ["2026-07-22 10:00:00 America/New_York x", 200, { time: "2026-07-22T14:00:00Z" }],
    ["2026-11-22 10:00:00 Some/Thing x", 200, { time: T }],
    ["2026-11-22 10:00:00 GET /index.html", 200, { time: T }],
    ["2026-11-22T11:00:00.123+01:00[Europe/Berlin] INFO x", 200, { time: MS }],
    ["2026-11-22 10:00:00.123456 +0000 UTC m=+0.000012 x", 200, { time: "2026-11-22T10:00:00.123456Z" }],
    ["2026-11-22 11:00:00 +0100 [warn]: #0 x", 300, { time: T }],
    [
      "<187>7: Nov 22 10:00:00 CDT: %LINK-3-UPDOWN: x",
      400,
      { time: "2026-11-22T15:00:00Z", message: "%LINK-3-UPDOWN: x" },
    ],
    ['{"msg":"x","time":"2026-07-01 10:00:00 CEST"}', 200, { time: "2026-07-01T08:00:00Z", message: "x" }],
    ['{"msg":"x","time":"2026-07-01 02:00:00 PM"}', 200, { time: "2026-07-01T14:00:00Z", message: "x" }],
    [
      '{"msg":"x","time":"2014-03-10 19:57:38.562264131 -0400 EDT"}',
      200,
      { time: "2014-03-10T23:57:38.562264Z", message: "x" },
    ],
    [
      '{"msg":"x","time":"2026-11-22 10:00:00 IST"}',
      200,
      { message: "x", attributes: { time: "2026-11-22 10:00:00 IST" } },
    ],
    [
      '{"msg":"x","time":"2026-11-22 10:00:00 or so"}',
      200,
      { message: "x", attributes: { time: "2026-11-22 10:00:00 or so" } },
    ],
    ["11/05/2026 10:00:00 x", 200, { time: NONE }],
    ["2026-11-22 13:00:00 PM x", 200, { time: "2026-11-22T13:00:00Z" }],
    ["2026-07-01 10:00:00 US/Pacific x", 200, { time: "2026-07-01T17:00:00Z" }],
    ["2026-07-01 10:00:00 PST8PDT x", 200, { time: "2026-07-01T17:00:00Z" }],
    ["2026-07-01 10:00:00 ET x", 200, { time: NONE }],
    ["2026-07-01 10:00:00 p.m. x", 200, { time: "2026-07-01T22:00:00Z" }],
    ["2026-07-01 10:00:00\u202fPM x", 200, { time: "2026-07-01T22:00:00Z" }],
    ["2026-11-22 11:00:00 +01:00: x", 200, { time: T }],
    ["2026-11-22 11:00:00.123+0100: 7: error : virNetSocketReadWire:1785 : x", 400, { time: MS }],
    ["<14>Nov 22 10:00:00 2001:db8::1 app: x", 200, { time: T, host: "2001:db8::1", app: "app", message: "x" }],
  ],
  "lines of common servers, libraries and devices": [
    [
      "2026/11/22 10:00:00 [error] 31#31: *7 connect() failed (111: Connection refused) while connecting to upstream, client: 192.0.2.1",
      400,
      { time: "2026-11-22T10:00:00Z" },
    ],
    ["2026/11/22 10:00:00 [notice] 1#1: start worker process 29", 250, { time: "2026-11-22T10:00:00Z" }],
    [
      '192.0.2.1 - bob [22/Nov/2026:10:00:00 +0100] "POST /api HTTP/1.1" 502 157 "-" "curl/8.5.0"',
      200,
      { time: "2026-11-22T09:00:00Z" },
    ],
    [
      '{"time_iso8601":"2026-11-22T10:00:00+00:00","remote_addr":"192.0.2.1","request":"GET / HTTP/1.1","status":"200"}',
      200,
      { time: "2026-11-22T10:00:00Z" },
    ],
    [
      '<134>Nov 22 10:00:00 lb1 haproxy[1234]: 192.0.2.1:41234 [22/Nov/2026:10:00:00.123] http-in app/srv1 0/0/1/7/8 200 157 - - ---- 1/1/0/0/0 0/0 "GET / HTTP/1.1"',
      200,
      { time: "2026-11-22T10:00:00.123Z", host: "lb1", app: "haproxy" },
    ],
    [
      "<129>Nov 22 10:00:00 lb1 haproxy[1234]: Server app/srv1 is DOWN, reason: Layer4 connection problem, check duration: 0ms.",
      550,
      { time: "2026-11-22T10:00:00Z", host: "lb1", app: "haproxy" },
    ],
    ["[NOTICE]   (1) : New worker (8) forked", 250, { time: NONE }],
    ["[WARNING]  (1) : config : missing timeouts for frontend 'http-in'.", 300, { time: NONE }],
    [
      "Nov 22 10:00:00 web-1 systemd[1]: nginx.service: Failed with result 'exit-code'.",
      200,
      { time: "2026-11-22T10:00:00Z", host: "web-1", app: "systemd" },
    ],
    [
      "2026-11-22T10:00:00.123456+01:00 web-1 kernel: [12345.678901] Out of memory: Killed process 4242 (node)",
      200,
      { time: "2026-11-22T09:00:00.123456Z", host: "web-1", app: "kernel" },
    ],
    [
      "Nov 22 10:00:00 web-1 kernel: [12345.678901] eth0: link up",
      200,
      { time: "2026-11-22T10:00:00Z", host: "web-1", app: "kernel" },
    ],
    [
      '<30>1 2026-11-22T10:00:00.123456+00:00 web-1 dockerd 812 - - time="2026-11-22T10:00:00.123456789Z" level=warning msg="Health check for container x failed" container=abc',
      300,
      { time: "2026-11-22T10:00:00.123456Z", host: "web-1", app: "dockerd" },
    ],
    [
      'time="2026-11-22T10:00:00Z" level=fatal msg="unable to configure the Docker daemon" error="no such file"',
      600,
      { time: "2026-11-22T10:00:00Z" },
    ],
    [
      '{"log":"[GIN] 2026/11/22 - 10:00:00 | 200 | 1.2ms | 192.0.2.1 | GET \\"/ping\\"\\n","stream":"stdout","time":"2026-11-22T10:00:00.123456789Z"}',
      200,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    [
      "2026-11-22T10:00:00.123456789+00:00 stderr F E1122 10:00:00.123456       1 reflector.go:147] pkg/mod: Failed to watch *v1.Pod: unknown",
      400,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    [
      '2026-11-22T10:00:00.123456789Z stdout F {"level":"warn","ts":1795341600.123,"caller":"main.go:7","msg":"slow","took":"3s"}',
      300,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    [
      "2026-11-22T10:00:00.123456789Z stdout P partial line of a very long",
      200,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    ["2026-11-22 10:00:00,123 [main] ERROR com.example.Shop - Cannot sell", 400, { time: "2026-11-22T10:00:00.123Z" }],
    [
      "2026-11-22 10:00:00.123  WARN 1 --- [nio-8080-exec-1] o.s.web.servlet.PageNotFound : No mapping for GET /x",
      300,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    [
      "2026-11-22T10:00:00.123Z  INFO 1 --- [shop] [           main] c.e.shop.ShopApplication : Started",
      200,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    ["10:00:00.123 [main] DEBUG com.example.Shop -- debug text", 100, { time: NONE }],
    ["22-11-2026 10:00:00.123 [http-nio-8080] ERROR c.e.Shop - x", 400, { time: "2026-11-22T10:00:00.123Z" }],
    ["Nov 22, 2026 10:00:00 AM com.example.Shop sell", 200, { time: "2026-11-22T10:00:00Z" }],
    ["SEVERE: Cannot sell", 400, { time: NONE }],
    ["2026-11-22 10:00:00,123 - shop.cart - WARNING - cart is empty", 300, { time: "2026-11-22T10:00:00.123Z" }],
    ["WARNING:root:cart is empty", 300, { time: NONE }],
    ["ERROR:shop.cart:cart is empty", 400, { time: NONE }],
    ["[2026-11-22 10:00:00 +0000] [7] [INFO] Starting gunicorn 22.0.0", 200, { time: "2026-11-22T10:00:00Z" }],
    ["[2026-11-22 10:00:00 +0000] [7] [CRITICAL] WORKER TIMEOUT (pid:9)", 500, { time: "2026-11-22T10:00:00Z" }],
    ['INFO:     192.0.2.1:5000 - "GET / HTTP/1.1" 200 OK', 200, { time: NONE }],
    ["[2026-11-22 10:00:00,123: WARNING/ForkPoolWorker-1] slow task", 300, { time: "2026-11-22T10:00:00.123Z" }],
    [
      "[2026-11-22T10:00:00.123+0000] {taskinstance.py:1346} ERROR - Task failed",
      400,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    ["2026-11-22 10:00:00.123 | ERROR    | shop.cart:sell:7 - cannot sell", 400, { time: "2026-11-22T10:00:00.123Z" }],
    [
      'time=2026-11-22T10:00:00.123+01:00 level=ERROR source=main.go:7 msg="cannot sell" err="no stock" user.id=7',
      400,
      { time: "2026-11-22T09:00:00.123Z" },
    ],
    ['2026/11/22 10:00:00 ERROR cannot sell err="no stock"', 400, { time: "2026-11-22T10:00:00Z" }],
    ["2026/11/22 10:00:00 main.go:7: listening on :8080", 200, { time: "2026-11-22T10:00:00Z" }],
    [
      '{"level":"error","ts":"2026-11-22T10:00:00.123+0100","logger":"shop","caller":"a/b.go:7","msg":"x","stacktrace":"main.main\\n\\t/a/b.go:7"}',
      400,
      { time: "2026-11-22T09:00:00.123Z", app: "shop" },
    ],
    [
      '2026-11-22T10:00:00.123+0100\tERROR\tshop\ta/b.go:7\tcannot sell\t{"user": 7}',
      400,
      { time: "2026-11-22T09:00:00.123Z" },
    ],
    ['ERRO[0012] cannot sell                                   error="no stock"', 400, { time: NONE }],
    ["WARN[2026-11-22T10:00:00Z] cannot sell                   user=7", 300, { time: "2026-11-22T10:00:00Z" }],
    ["10:00AM WRN cannot sell user=7", 300, { time: NONE }],
    [
      'I, [2026-11-22T10:00:00.123456 #42]  INFO -- : Started GET "/" for 192.0.2.1',
      200,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    ["E, [2026-11-22T10:00:00.123456 #42] ERROR -- shop: cannot sell", 400, { time: "2026-11-22T10:00:00.123456Z" }],
    [
      '{"method":"GET","path":"/","format":"html","controller":"A","action":"b","status":200,"duration":7.1,"@timestamp":"2026-11-22T10:00:00.123Z","@version":"1","message":"[200] GET /"}',
      200,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    ["method=GET path=/ format=html controller=A status=200 duration=7.10 view=3.1 db=0.0", 200, { time: NONE }],
    ["[22-Nov-2026 10:00:00] NOTICE: fpm is running, pid 1", 250, { time: "2026-11-22T10:00:00Z" }],
    [
      "[22-Nov-2026 10:00:00] WARNING: [pool www] child 7 exited on signal 11 (SIGSEGV) after 3.2 seconds from start",
      300,
      { time: "2026-11-22T10:00:00Z" },
    ],
    [
      "[22-Nov-2026 10:00:00 Europe/Berlin] PHP Warning:  Undefined variable $x in /a.php on line 7",
      300,
      { time: "2026-11-22T09:00:00Z" },
    ],
    [
      '[2026-11-22T10:00:00.123456+00:00] app.ERROR: cannot sell {"user":7} []',
      400,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    ['[2026-11-22 10:00:00] production.ERROR: cannot sell {"exception":"x"}', 400, { time: "2026-11-22T10:00:00Z" }],
    ["2026-11-22 10:00:00.123 UTC [42] LOG:  checkpoint starting: time", 200, { time: "2026-11-22T10:00:00.123Z" }],
    [
      '2026-11-22 10:00:00.123 CET [42] bob@shop ERROR:  relation "x" does not exist at character 15',
      400,
      { time: "2026-11-22T09:00:00.123Z" },
    ],
    [
      '2026-11-22 10:00:00.123 UTC,"bob","shop",42,"192.0.2.1:5000",6561.1,3,"SELECT",2026-11-22 09:59:00 UTC,3/7,0,ERROR,42P01,"relation ""x"" does not exist",,,,,,"select 1",15,,"psql"',
      400,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    [
      "2026-11-22T10:00:00.123456Z 7 [Warning] [MY-010055] [Server] IP address could not be resolved",
      300,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    ["2026-11-22 10:00:00 7 [ERROR] mariadbd: Table is crashed", 400, { time: "2026-11-22T10:00:00Z" }],
    ["1:M 22 Nov 2026 10:00:00.123 * Ready to accept connections tcp", 250, { time: "2026-11-22T10:00:00.123Z" }],
    ['2026-11-22 10:00:00.123 +01:00 [ERR] Cannot sell "x"', 400, { time: "2026-11-22T09:00:00.123Z" }],
    [
      "2026-11-22 10:00:00.123 +01:00 [INF] Now listening on: http://[::]:8080",
      200,
      { time: "2026-11-22T09:00:00.123Z" },
    ],
    ["[10:00:00 WRN] Cannot sell", 300, { time: NONE }],
    [
      '{"Timestamp":"2026-11-22T10:00:00.123+01:00","Level":"Fatal","MessageTemplate":"Cannot {What}","RenderedMessage":"Cannot sell","Properties":{"SourceContext":"Shop.Cart"}}',
      600,
      { time: "2026-11-22T09:00:00.123Z" },
    ],
    [
      '{"@t":"2026-11-22T10:00:00.1234567Z","@mt":"Cannot {What}","@l":"Warning","What":"sell"}',
      300,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    ["warn: Microsoft.AspNetCore.Server.Kestrel[0]", 300, { time: NONE }],
    ["fail: Shop.Cart[7]", 400, { time: NONE }],
    ["2026-11-22 10:00:00.1234|ERROR|Shop.Cart|Cannot sell", 400, { time: "2026-11-22T10:00:00.1234Z" }],
    [
      "<189>123: *Nov 22 10:00:00.123 CET: %LINEPROTO-5-UPDOWN: Line protocol on Interface Gi0/1, changed state to up",
      250,
      { time: "2026-11-22T09:00:00.123Z" },
    ],
    [
      "<187>456: sw1: 000789: Nov 22 10:00:00.123: %LINK-3-UPDOWN: Interface Gi0/1, changed state to down",
      400,
      { time: "2026-11-22T10:00:00.123Z", host: "sw1" },
    ],
    [
      "<166>Nov 22 2026 10:00:00 asa1 : %ASA-6-302013: Built outbound TCP connection 7",
      200,
      { time: "2026-11-22T10:00:00Z", host: "asa1" },
    ],
    [
      "<166>:Nov 22 10:00:00 CET: %ASA-session-6-302014: Teardown TCP connection 7",
      200,
      { time: "2026-11-22T09:00:00Z" },
    ],
    [
      "<28>Nov 22 10:00:00 mx1 rpd[1234]: %DAEMON-4-RPD_OSPF_NBRDOWN: OSPF neighbor 192.0.2.9 down",
      300,
      { time: "2026-11-22T10:00:00Z", host: "mx1", app: "rpd" },
    ],
    [
      '<14>1 2026-11-22T10:00:00.123+01:00 srx1 RT_FLOW - RT_FLOW_SESSION_CREATE [junos@2636.1.1.1.2.40 source-address="192.0.2.1" policy-name="p"] ',
      200,
      { time: "2026-11-22T09:00:00.123Z", host: "srx1", app: "RT_FLOW" },
    ],
    [
      "<134>1 2026-11-22T10:00:00.123456+01:00 pf1.example filterlog 41234 - - 4,,,1000000103,em0,match,block,in,4,0x0,,64,0,0,DF,6,tcp,60,192.0.2.1,192.0.2.2,41234,22,0,S,1,,64240,,mss",
      200,
      { time: "2026-11-22T09:00:00.123456Z", host: "pf1.example", app: "filterlog" },
    ],
    [
      "<134>Nov 22 10:00:00 filterlog[41234]: 4,,,1000000103,em0,match,block,in,4",
      200,
      { time: "2026-11-22T10:00:00Z", app: "filterlog" },
    ],
    [
      "<13>Nov 22 10:00:00 WIN-1 Microsoft-Windows-Security-Auditing[4]: An account failed to log on.",
      250,
      { time: "2026-11-22T10:00:00Z", host: "WIN-1", app: "Microsoft-Windows-Security-Auditing" },
    ],
    ["CRITICAL 2026-11-22 10:00:00,123 views 7 1402 Cannot sell", 500, { time: "2026-11-22T10:00:00.123Z" }],
    [
      "[2026-11-22T10:00:00,123][WARN ][o.e.c.r.a.DiskThresholdMonitor] [es-1] high disk watermark",
      300,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    [
      "[2026-11-22 10:00:00,123] INFO [GroupCoordinator 1]: Stabilized group x (kafka.coordinator.group.GroupCoordinator)",
      200,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    [
      "2026-11-22 10:00:00.123 [info] <0.7.0> Server startup complete; 0 plugins started.",
      200,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    ["[2026-11-22 10:00:00.123] [error] [client 192.0.2.1] x", 400, { time: "2026-11-22T10:00:00.123Z" }],
    [
      'ts=2026-11-22T10:00:00.123Z caller=main.go:7 level=warn component=tsdb msg="x y"',
      300,
      { time: "2026-11-22T10:00:00.123Z", app: "tsdb" },
    ],
    [
      '[2026-11-22T10:00:00.123Z] "GET / HTTP/1.1" 200 - via_upstream - "-" 0 7',
      200,
      { time: "2026-11-22T10:00:00.123Z" },
    ],
    [
      "2026-11-22T10:00:00.123456Z\twarn\tenvoy config external/envoy/x.cc:7\tgRPC config stream closed: 14",
      300,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    ["2026-11-22T10:00:00.123456Z  WARN shop::cart: cannot sell user=7", 300, { time: "2026-11-22T10:00:00.123456Z" }],
    ["[2026-11-22T10:00:00Z ERROR shop::cart] cannot sell", 400, { time: "2026-11-22T10:00:00Z" }],
    ["2026-11-22 10:00:00 UTC::@:[42]:LOG:  checkpoint complete", 200, { time: "2026-11-22T10:00:00Z" }],
  ],
  "keys of common loggers": [
    ['{"Level":"Error","Message":"x","Timestamp":"2026-11-22T10:00:00.123Z"}', 400, { message: "x", time: MS }],
    [
      '{"PRIORITY":"3","MESSAGE":"x","_HOSTNAME":"h","SYSLOG_IDENTIFIER":"sshd","__REALTIME_TIMESTAMP":"1795341600123000","_PID":"7"}',
      400,
      { message: "x", host: "h", app: "sshd", time: MS, attributes: { _PID: "7" } },
    ],
    [
      '{"PRIORITY":"6","MESSAGE":"level=error msg=x a=1","_HOSTNAME":"h"}',
      400,
      { message: "x", host: "h", attributes: { a: "1" } },
    ],
    [
      '{"@level":"warn","@message":"x","@module":"core","@timestamp":"2026-11-22T10:00:00.123456Z"}',
      300,
      { message: "x", app: "core", time: "2026-11-22T10:00:00.123456Z" },
    ],
    [
      '{"t":{"$date":"2026-11-22T10:00:00.123+00:00"},"s":"E","c":"NETWORK","id":7,"ctx":"conn1","msg":"x"}',
      400,
      {
        message: "x",
        app: "NETWORK",
        time: MS,
        attributes: { t: { $date: "2026-11-22T10:00:00.123+00:00" }, id: 7, ctx: "conn1" },
      },
    ],
    [
      '{"t":{"$date":"2026-11-22T10:00:00.123+00:00"},"s":"D1","c":"-","id":7,"msg":"x"}',
      100,
      { message: "x", time: MS },
    ],
    ['{"date":1795341600.5,"log":"ERROR x"}', 400, { message: "ERROR x", time: "2026-11-22T10:00:00.5Z" }],
    [
      '{"output":"x","priority":"Warning","rule":"r","time":"2026-11-22T10:00:00.123Z","hostname":"h"}',
      300,
      { message: "x", host: "h", time: MS, attributes: { rule: "r" } },
    ],
    [
      '{"severity_text":"ERROR","body":"x","severity_number":17}',
      400,
      { message: "x", attributes: { severity_number: 17 } },
    ],
    [
      '{"severityNumber":13,"body":{"stringValue":"x"},"timeUnixNano":"1795341600123000000"}',
      300,
      { message: "x", time: MS, attributes: { body: { stringValue: "x" } } },
    ],
    ['{"severityText":"WARN2","body":"x"}', 300, { message: "x" }],
    [
      '{"instant":{"epochSecond":1795341600,"nanoOfSecond":123000000},"level":"WARN","loggerName":"com.x","message":"x"}',
      300,
      { message: "x", app: "com.x", time: MS },
    ],
    [
      '{"timeMillis":1795341600123,"level":"WARN","loggerName":"com.x","message":"x"}',
      300,
      { message: "x", app: "com.x", time: MS },
    ],
    [
      '{"@timestamp":"2026-11-22T10:00:00.123Z","message":"x","logger_name":"c.x","level":"INFO","HOSTNAME":"h"}',
      200,
      { message: "x", app: "c.x", host: "h", time: MS },
    ],
    ['{"hostName":"h","message":"x"}', 200, { host: "h", message: "x" }],
    [
      '{"Timestamp":"2026-11-22T10:00:00.1230000Z","Level":"Warning","MessageTemplate":"Hi {N}","RenderedMessage":"Hi 1","Properties":{"N":1}}',
      300,
      { message: "Hi 1", time: MS, attributes: { MessageTemplate: "Hi {N}", Properties: { N: 1 } } },
    ],
    [
      '{"@t":"2026-11-22T10:00:00.123Z","@mt":"x","@l":"Error","SourceContext":"Shop.Cart","MachineName":"h"}',
      400,
      { message: "x", app: "Shop.Cart", host: "h" },
    ],
    [
      '{"EventId":0,"LogLevel":"Error","Category":"Shop","Message":"x"}',
      400,
      { message: "x", attributes: { EventId: 0, Category: "Shop" } },
    ],
    ['{"levelno":30,"levelname":"WARNING","message":"x"}', 300, { message: "x", attributes: { levelno: 30 } }],
    ['{"levelno":30,"message":"x"}', 300, { message: "x" }],
    ['{"time_local":"22/Nov/2026:10:00:00 +0000","request":"GET /","status":"200"}', 200, { time: T }],
    ['{"msg":"job","priority":50}', 200, { message: "job", attributes: { priority: 50 } }],
    ['{"msg":"x","service":"18ms","name":"shop"}', 200, { app: "shop", attributes: { service: "18ms" } }],
    ['{"msg":"x","a":"b","c":"DE"}', 200, { message: "x", attributes: { a: "b", c: "DE" } }],
    ['{"SEVERITY":"NOTICE","MESSAGE":"x"}', 250, { message: "x" }],
    ['{"log_level":"error","message":"x","app_name":"shop"}', 400, { message: "x", app: "shop" }],
    ['{"lvl":"eror","t":"2026-11-22T10:00:00.123Z","msg":"x"}', 400, { message: "x", time: MS }],
    [
      '{"severity":"info","severity_label":"Informational","message":"x","program":"sshd","logsource":"h"}',
      200,
      { app: "sshd" },
    ],
    ['{"timestamp":"2026-11-22 10:00:00.123 UTC","error_severity":"ERROR","message":"x"}', 400, { time: MS }],
    [
      '{"msg":"x","timereported":"2026-11-22T10:00:00Z","syslogseverity":"3","app-name":"a","sysloghost":"h"}',
      400,
      { time: T, app: "a", host: "h", attributes: undefined },
    ],
    [
      '{"EventTime":"2026-11-22 10:00:00","Severity":"ERROR","SourceName":"MSSQL","Message":"x"}',
      400,
      { app: "MSSQL" },
    ],
    ['{"MESSAGE":"x","_COMM":"nginx","__REALTIME_TIMESTAMP":"1795341600123000"}', 200, { app: "nginx", time: MS }],
    [
      '{"@timestamp":"2026-11-22T10:00:00Z","level":"error","content":"x"}',
      400,
      { message: "x", attributes: undefined },
    ],
    ['{"timestampSeconds":1795341600,"timestampNanos":7,"severity":"ERROR","message":"x"}', 400, { time: T }],
    ['{"0":"x","1":"y"}', 200, { message: '{"0":"x","1":"y"}' }],
    ['{"PRIORITY":"4","MESSAGE":[104,105,240,159,152,128],"_HOSTNAME":"h"}', 300, { message: "hi😀", host: "h" }],
    [
      '{"PRIORITY":"6","MESSAGE":[27,91,51,49,109,69,82,82,79,82,27,91,48,109,32,120]}',
      400,
      { message: "ERROR x", attributes: undefined },
    ],
    ['{"MESSAGE":[104,300],"PRIORITY":"6"}', 200, { attributes: { MESSAGE: [104, 300] } }],
    [
      '{"L":"ERROR","T":"2026-11-22T10:00:00.123Z","N":"shop","C":"a/b.go:7","M":"x"}',
      400,
      { message: "x", time: MS, attributes: { N: "shop", C: "a/b.go:7" } },
    ],
    ['{"msg":"x","l":"error","m":"y"}', 200, { message: "x", attributes: { l: "error", m: "y" } }],
    ['{"severity":"WARN","progname":"shop","message":"x"}', 300, { app: "shop" }],
    ['{"c":1,"t":"1795341600.123","s":3,"sev":"E","f":"a.go","message":"x"}', 400, { message: "x", time: MS }],
    ['{"MESSAGE":"x","PRIORITY":"err","ISODATE":"2026-11-22T10:00:00+00:00"}', 400, { message: "x", time: T }],
    ['{"msec":"1795341600.123","status":"500"}', 200, { time: MS }],
    [
      '{"reqId":"r","level":3,"time":"2026-11-22T10:00:00+00:00","remoteAddr":"192.0.2.1","user":"bob","app":"files","message":"x"}',
      400,
      { message: "x", app: "files", time: T, attributes: { reqId: "r", remoteAddr: "192.0.2.1", user: "bob" } },
    ],
    ['{"remoteAddr":"192.0.2.1","level":3,"message":"x"}', 200, { attributes: { remoteAddr: "192.0.2.1", level: 3 } }],
    [
      '<30>device="SFW" date=2026-11-22 time=11:00:00 timezone="CET" device_name="XG" priority=Warning msg="x"',
      300,
      { time: T, message: "x" },
    ],
  ],
  "keys in objects": [
    [
      '{"timestamp":"2026-11-22T10:00:00.123456Z","level":"ERROR","fields":{"message":"x","n":1},"target":"t"}',
      400,
      {
        message: "x",
        time: "2026-11-22T10:00:00.123456Z",
        attributes: { fields: { message: "x", n: 1 }, target: "t" },
      },
    ],
    ['{"record":{"level":{"name":"ERROR","no":40},"message":"x"}}', 400, { message: "x" }],
    [
      '{"text":"2026 | ERROR | x\\n","record":{"level":{"icon":"e","name":"WARNING","no":30},"message":"x","time":{"repr":"2026-11-22 10:00:00.123456+00:00","timestamp":1795341600.123456}}}',
      300,
      { message: "x", time: "2026-11-22T10:00:00.123456Z" },
    ],
    [
      '{"message":"x","level":400,"level_name":"ERROR","channel":"app","datetime":{"date":"2026-11-22 11:00:00.123000","timezone_type":3,"timezone":"Europe/Berlin"}}',
      400,
      { app: "app", time: MS },
    ],
    ['{"level":{"level":40000,"levelStr":"ERROR"},"message":"x"}', 400, { message: "x" }],
    ['{"log":"ERROR x\\n","kubernetes":{"container_name":"shop"}}', 400, { message: "ERROR x", app: "shop" }],
    ['{"jsonPayload":{"message":"x"},"severity":"ERROR"}', 400, { message: "x" }],
    [
      '{"service":{"name":"shop"},"host":{"name":"h"},"log":{"level":"warn"},"message":"x"}',
      300,
      { app: "shop", host: "h", message: "x" },
    ],
    [
      '{"0":"x","_meta":{"date":"2026-11-22T10:00:00.123Z","logLevelName":"ERROR","name":"shop","hostname":"h"}}',
      400,
      { message: "x", time: MS, app: "shop", host: "h" },
    ],
    ['{"message":"x","timestamp":{"seconds":1795341600,"nanos":7}}', 200, { time: T }],
    ['{"log":"x","kubernetes":{"container_name":"shop","host":"node-1"}}', 200, { app: "shop", host: "node-1" }],
    ['{"message":"x","kubernetes":{"pod_node_name":"node-1"}}', 200, { host: "node-1" }],
    [
      '{"message":"x","kubernetes":{"container":{"name":"shop"},"node":{"name":"node-1"}}}',
      200,
      { app: "shop", host: "node-1" },
    ],
    [
      '{"SeverityText":"ERROR","Body":"x","Resource":{"service.name":"shop","host.name":"h"}}',
      400,
      { message: "x", app: "shop", host: "h" },
    ],
    ['{"@fields":{"n":1,"level":"warn"},"@message":"x"}', 300, { message: "x" }],
    ['{"body":"x","resource":{"attributes":{"service.name":"shop"}}}', 200, { app: "shop" }],
    [
      '{"Level":"Error","MessageTemplate":"x","Properties":{"SourceContext":"Shop.Cart","MachineName":"h"}}',
      400,
      { message: "x", app: "Shop.Cart", host: "h" },
    ],
  ],
  "formats in formats": [
    [
      '<14>Nov 22 10:00:00 h a: {"level":"error","msg":"x"}',
      400,
      { message: "x", host: "h", app: "a", time: T, attributes: { facility: "user" } },
    ],
    [
      '<14>Nov 22 10:00:00 h a[7]: {"level":"error","msg":"x","host":"pod-1","n":1}',
      400,
      { message: "x", host: "h", app: "a", attributes: { facility: "user", procid: "7", host: "pod-1", n: 1 } },
    ],
    ["<14>level=error msg=x a=1", 400, { message: "x", attributes: { facility: "user", a: "1" } }],
    [
      '<188>date=2026-11-22 time=10:30:10 devname="f" level="warning" msg="x" srcip=192.0.2.4',
      300,
      { message: "x", host: "f", time: "2026-11-22T10:30:10Z", attributes: { facility: "local7", srcip: "192.0.2.4" } },
    ],
    [
      '<188>date=2026-11-22 time=10:30:10 devname="f" tz="+0100" level="warning" msg="x"',
      300,
      { message: "x", time: "2026-11-22T09:30:10Z" },
    ],
    [
      '<189>date=2026-11-22 time=10:30:10 devname="f" eventtime=1795341600123000000 level="notice" msg="x"',
      250,
      { time: MS, message: "x" },
    ],
    ["2026-11-22T10:00:00Z stderr F ERROR x", 400, { message: "ERROR x", time: T, attributes: { stream: "stderr" } }],
    [
      '2026-11-22T10:00:00.123456789Z stdout F {"level":"error","msg":"x"}',
      400,
      { message: "x", time: "2026-11-22T10:00:00.123456Z", attributes: { stream: "stdout" } },
    ],
    [
      "2026-11-22T10:00:00.123Z stdout P part of a line",
      200,
      { message: "part of a line", time: MS, attributes: { stream: "stdout", logtag: "P" } },
    ],
    [
      "2026-11-22T10:00:00.123Z stderr F E1122 10:00:00.123456       1 x.go:1] y",
      400,
      { message: "E1122 10:00:00.123456       1 x.go:1] y" },
    ],
    [
      '{"log":"{\\"level\\":\\"error\\",\\"msg\\":\\"x\\"}\\n","stream":"stdout","time":"2026-11-22T10:00:00.123Z"}',
      400,
      { message: "x", time: MS, attributes: { stream: "stdout" } },
    ],
    [
      '{"log":"level=warn msg=\\"x y\\" a=1\\n","stream":"stderr","time":"2026-11-22T10:00:00.123Z"}',
      300,
      { message: "x y", attributes: { stream: "stderr", a: "1" } },
    ],
    [
      '{"log":"\\u001b[31mERROR\\u001b[0m x\\n","stream":"stderr","time":"2026-11-22T10:00:00.123Z"}',
      400,
      { message: "ERROR x" },
    ],
    ["2026-11-22T10:00:00Z level=error msg=x", 400, { message: "x", time: T }],
    ['2026-11-22T10:00:00Z {"level":"error","msg":"x"}', 400, { message: "x", time: T }],
    ['[2026-11-22 10:00:00] {"level":"error","msg":"x"}', 400, { message: "x", time: T }],
    [
      '2026-11-22 10:00:00.123000000 +0000 shop.access: {"level":"error","msg":"x"}',
      400,
      { message: "x", time: MS, app: "shop.access" },
    ],
    [
      "2026-11-22T10:00:00.123456+00:00 heroku[router]: at=error code=H12 service=30000ms",
      400,
      { app: "heroku", attributes: { procid: "router", code: "H12", service: "30000ms" } },
    ],
    [
      '<14>1 2026-11-22T10:00:00.123Z h a 7 - - {"level":"warn","message":"x"}',
      300,
      { message: "x", host: "h", app: "a", time: MS, attributes: { facility: "user", procid: "7" } },
    ],
    [
      '<14>1 2026-11-22T10:00:00.123Z h a - - - @cee: {"msg":"x","n":1}',
      200,
      { message: "x", attributes: { facility: "user", n: 1 } },
    ],
    [
      '<30>Nov 22 10:00:00 h dockerd[7]: time="2026-11-22T10:00:00.123Z" level=error msg="x y" id=1',
      400,
      { message: "x y", app: "dockerd", time: MS, attributes: { facility: "daemon", procid: "7", id: "1" } },
    ],
    [
      "<14>Nov 22 10:00:00 h a: 2026-11-22 10:00:00,123 [main] ERROR c.x - y",
      400,
      { message: "2026-11-22 10:00:00,123 [main] ERROR c.x - y", app: "a", time: MS },
    ],
    ["<14>1 2026-11-22T09:00:00Z h a - - - 2026-11-22 10:00:00 WARN y", 300, { time: "2026-11-22T09:00:00Z" }],
    ['web-1  | {"level":"error","msg":"x"}', 400, { message: "x" }],
    ["web-1  | 2026-11-22 10:00:00 ERROR x", 400, { time: T, message: "web-1  | 2026-11-22 10:00:00 ERROR x" }],
    [
      "<22>Nov 22 10:00:00 mx postfix/smtpd[7]: warning: hostname x does not resolve",
      300,
      { app: "postfix/smtpd", message: "warning: hostname x does not resolve" },
    ],
    ['[pod/web-7f/shop] {"level":"error","msg":"x"}', 400, { app: "shop", message: "x" }],
    [
      "[pod/web-7f/shop] 2026-11-22T10:00:00.123Z ERROR x",
      400,
      { app: "shop", time: MS, message: "2026-11-22T10:00:00.123Z ERROR x" },
    ],
    ["[pod/web] x", 200, { app: undefined, message: "[pod/web] x" }],
    ["Nov 22 10:00:00 h dovecot: imap(a)<7><b>: Error: x", 400, { app: "dovecot", message: "imap(a)<7><b>: Error: x" }],
    ["Nov 22 10:00:00 h NetworkManager[7]: <warn>  [1795341600.1] x", 300, { app: "NetworkManager", time: T1 }],
    [
      '{"file":"/a.log","host":"web","message":"2026-11-22 10:00:00 WARN x","source_type":"file","timestamp":"2026-11-22T10:00:00.1Z"}',
      300,
      { host: "web", time: T1, message: "2026-11-22 10:00:00 WARN x" },
    ],
    [
      '{"@timestamp":"2026-11-22T10:00:00.1Z","agent":{"type":"filebeat"},"message":"{\\"level\\":\\"error\\",\\"msg\\":\\"x\\",\\"n\\":1}"}',
      400,
      { message: "x", attributes: { agent: { type: "filebeat" }, n: 1 } },
    ],
    ['{"agent":{"type":"filebeat"},"level":"info","message":"ERROR x"}', 200, { message: "ERROR x" }],
    ['{"message":"ERROR x","n":1}', 200, { message: "ERROR x" }],
    ['2026-11-22T11:00:00+01:00: {"level":"error","msg":"x"}', 400, { time: T, message: "x", app: undefined }],
    [
      "@400000006a16b82b0754d4c0 ERROR x",
      400,
      { time: "2026-05-27T09:23:45.123Z", message: "@400000006a16b82b0754d4c0 ERROR x" },
    ],
    ['0|shop     | {"level":50,"msg":"x"}', 400, { app: "shop", message: "x" }],
    ["12|shop  | 2026-11-22T10:00:00: ERROR x", 400, { time: T, app: "shop", message: "2026-11-22T10:00:00: ERROR x" }],
    ['shop_web.1.x7f@node-1    | {"level":"error","msg":"x"}', 400, { message: "x" }],
    ['<14>Nov 22 10:00:00 h a: \ufeff{"level":"error","msg":"x"}', 400, { host: "h", app: "a", message: "x" }],
    ["CEF:0|V|P|1|7|Na me|8|src=192.0.2.1 msg=x", 400, { message: "CEF:0|V|P|1|7|Na me|8|src=192.0.2.1 msg=x" }],
    ["CEF:0|V|P|1|7|Name|3|src=192.0.2.1 msg=x", 200, { message: "CEF:0|V|P|1|7|Name|3|src=192.0.2.1 msg=x" }],
    ["CEF:0|V\\|W|P|1|7|Name|Very-High|", 500],
    ["<134>Nov 22 10:00:00 h CEF:0|V|P|1|7|Name|8|msg=x", 200, { host: "h", message: "CEF:0|V|P|1|7|Name|8|msg=x" }],
    ["LEEF:2.0|V|P|1|7|^|src=192.0.2.1^sev=8^msg=x", 400],
    ["LEEF:1.0|V|P|1|7|src=192.0.2.1\tsev=5\tmsg=x", 300],
  ],
  "syslog without its priority": [
    [
      "Nov 20 10:00:00 h sshd[1]: x",
      200,
      { time: "2026-11-20T10:00:00Z", host: "h", app: "sshd", message: "x", attributes: { procid: "1" } },
    ],
    [
      "2026-11-22T10:00:00.1+01:00 h sshd[1]: x",
      200,
      { time: "2026-11-22T09:00:00.1Z", host: "h", app: "sshd", message: "x", attributes: { procid: "1" } },
    ],
    [
      "2026-11-22T10:00:00.123456+00:00 h kernel: [12345.678901] x",
      200,
      { time: "2026-11-22T10:00:00.123456Z", host: "h", app: "kernel", message: "[12345.678901] x" },
    ],
    ["Nov  2 10:00:00 h kernel: x", 200, { time: "2026-11-02T10:00:00Z", host: "h", app: "kernel" }],
    ["Nov 22 10:00:00 h CRON[7]: (root) CMD (true)", 200, { app: "CRON", message: "(root) CMD (true)" }],
    [
      "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: authentication failure; logname= uid=0",
      200,
      { time: "2026-06-14T15:16:01Z", host: "combo", app: "sshd(pam_unix)" },
    ],
    ["Nov 22 10:00:00 h shop[7]: ERROR x", 400, { host: "h", app: "shop", message: "ERROR x" }],
    [
      "Nov 22 10:00:00 imap-login: Info: Login: user=<x>",
      200,
      { app: "imap-login", time: T, message: "Info: Login: user=<x>" },
    ],
    [
      "Jul  1 09:00:55 calvisitor-10-105-160-95 kernel[0]: IOThunderboltSwitch x",
      200,
      { app: "kernel", host: "calvisitor-10-105-160-95" },
    ],
    [
      "2026-11-22T10:00:00+0100 h systemd[1]: Started x.",
      200,
      { time: "2026-11-22T09:00:00Z", host: "h", app: "systemd" },
    ],
    ["Nov 22 10:00:00 Starting the engine", 200, { time: T, message: "Nov 22 10:00:00 Starting the engine" }],
    [
      "2026-11-22T10:00:00Z request failed: timeout",
      200,
      { time: T, message: "2026-11-22T10:00:00Z request failed: timeout" },
    ],
    [
      "2026-11-22T10:00:00.123456+00:00 app[web.1]: x",
      200,
      { app: "app", message: "x", attributes: { procid: "web.1" } },
    ],
    [
      'Nov 22 10:00:00 h haproxy[7]: 192.0.2.1:1234 [22/Nov/2026:10:00:00.123] http-in back/srv 0/0/1/2/3 200 1 - - ---- 1/1/0/0/0 0/0 "GET / HTTP/1.1"',
      200,
      { app: "haproxy", host: "h", time: MS },
    ],
    [
      "Nov 22 10:00:00 h daemon.err dnsmasq[7]: x",
      400,
      { time: T, host: "h", app: "dnsmasq", message: "x", attributes: { facility: "daemon", procid: "7" } },
    ],
    ["Nov 22 10:00:00 h kern.warn kernel: x", 300, { host: "h", app: "kernel", attributes: { facility: "kern" } }],
    [
      "Sun Nov 22 10:00:00 2026 authpriv.notice dropbear[7]: x",
      250,
      { time: T, host: undefined, app: "dropbear", attributes: { facility: "authpriv", procid: "7" } },
    ],
    ["Sun Nov 22 10:00:00 2026 h dropbear[7]: x", 200, { time: T, app: undefined }],
    ["Nov 22 10:00:00 h sshd[7]: [ID 800047 auth.error] x", 400, { host: "h", app: "sshd" }],
    ["2026-11-22T10:00:00Z loading kernel: done", 200, { time: T, host: undefined, app: undefined }],
    ["2026-11-22T10:00:00+0000 h kernel: x", 200, { time: T, host: "h", app: "kernel", message: "x" }],
    ["Nov 22 10:00:00 h CEF:0|V|P|1|7|Name|10|src=192.0.2.1", 500, { time: T, host: "h" }],
    [
      "kern  :warn  : [    1.234567] usb 1-1: x",
      300,
      { app: undefined, message: "[    1.234567] usb 1-1: x", attributes: { facility: "kern" } },
    ],
    ["daemon:info  : [    2.345678] systemd[1]: Started x", 200, { attributes: { facility: "daemon" } }],
    ["authpriv:notice: [    2.345678] x", 250, { attributes: { facility: "authpriv" } }],
    ["kern  :err   : [Sun Nov 22 10:00:00 2026] x", 400, { time: T, attributes: { facility: "kern" } }],
    ["kern  :crit  : 2026-11-22T10:00:00,123000+00:00 x", 500, { time: MS, attributes: { facility: "kern" } }],
    ["kernel:warn  : [    1.234567] x", 200, { attributes: undefined }],
    ["kern  :warm  : [    1.234567] x", 200, { attributes: undefined }],
    [
      "2026-11-22T10:00:00.123Z warning hostd[2099157] [Originator@6876 sub=Vimsvc.TaskManager opID=7] Task Created",
      300,
      {
        time: MS,
        host: undefined,
        app: "hostd",
        message: "[Originator@6876 sub=Vimsvc.TaskManager opID=7] Task Created",
        attributes: { procid: "2099157" },
      },
    ],
    ["2026-11-22T10:00:00.123Z h1 hostd[7] [Originator@6876 sub=x] y: z", 200, { host: "h1", app: "hostd" }],
    [
      "2026-11-22T10:00:00.123Z In(182) vmkernel: cpu3:2097565)ScsiDeviceIO: 3047: x",
      200,
      {
        time: MS,
        host: undefined,
        app: "vmkernel",
        message: "cpu3:2097565)ScsiDeviceIO: 3047: x",
        attributes: { facility: "local6" },
      },
    ],
    ["2026-11-22T10:00:00.123Z Wa(180) vmkwarning: cpu3:2097565)WARNING: x", 300, { app: "vmkwarning" }],
    [
      "2026-11-22T10:00:00.123Z Er(11) hostd[7]: [Originator@6876 sub=x] y",
      400,
      { app: "hostd", message: "[Originator@6876 sub=x] y", attributes: { facility: "user", procid: "7" } },
    ],
    ["2026-11-22T10:00:00.123Z Db(167) vpxa[7]: x", 100, { attributes: { facility: "local4", procid: "7" } }],
    ["2026-11-22T10:00:00.123Z In(192) vmkernel: x", 200, { time: MS, app: undefined }],
    ["2026-11-22T10:00:00.123Z In(side) a: x", 200, { time: MS, app: undefined }],
    ["2026-11-22T10:00:00.123Z cpu3:2097565)WARNING: LinNet: x", 300, { time: MS }],
    ["Nov 22 10:00:00 h shop[7] x", 200, { app: "shop", message: "x", attributes: { procid: "7" } }],
  ],
  "syslog off the standard": [
    ["<14>Nov 22 10:00:00  h  a: x", 200, { host: "h", app: "a", message: "x", time: T }],
    ["<14>Nov 22 10:00:00 h app[1]:x", 200, { host: "h", app: "app", message: "x" }],
    ["<14>Nov 22 10:00:00 a@b app: x", 200, { host: "a@b", app: "app", message: "x" }],
    ["<14>Nov 22 10:00:00 a,b app: x", 200, { host: "a,b", app: "app", message: "x" }],
    ["<14>Nov 22 10:00:00 [192.0.2.1] app: x", 200, { host: "192.0.2.1", app: "app", message: "x" }],
    ["<134>Nov 22 10:00:00 slot1/x app[7]: y", 200, { host: "slot1/x", app: "app", message: "y" }],
    ["<34>OCT 11 22:14:15 h su: x", 500, { time: "2026-10-11T22:14:15Z", host: "h", app: "su" }],
    [
      "<189>1: h: 2: Nov 22 10:00:00: %A-5-B: x",
      250,
      {
        host: "h",
        time: T,
        message: "%A-5-B: x",
        attributes: { facility: "local7", message_count: "1", sequence: "2" },
      },
    ],
    ["<132>h: *t1: Nov 22 10:00:00.1: %A-4-B: x", 300, { host: "h", app: "t1", time: T1, message: "%A-4-B: x" }],
    ["<12> 11/22/2026:10:00:00 GMT h x : y", 300, { host: "h", app: "x", time: T, message: "y" }],
    ["<134>1 2026-11-22T10:00:00Z h  App: x", 200, { host: "h", app: "App", time: T, message: "x" }],
    [
      "<134>1 1795341600.5 h a b=1 c=2 x",
      200,
      { host: "h", app: "a", time: "2026-11-22T10:00:00.5Z", message: "b=1 c=2 x" },
    ],
    ["<134>1795341600.5 h app: x", 200, { host: "h", app: "app", time: "2026-11-22T10:00:00.5Z", message: "x" }],
    [
      "<166>2026-11-22T10:00:00.123Z esx1 Hostd: info hostd[7] [Originator@6876 sub=x] y",
      200,
      { host: "esx1", app: "Hostd", time: MS },
    ],
    [
      "<13>Nov 22 10:00:00 WIN1 MSWinEventLog\t1\tSecurity",
      250,
      { host: "WIN1", message: "MSWinEventLog\t1\tSecurity" },
    ],
    ["<14>Nov 22 10:00:00 level=error msg=x", 400, { time: T, message: "x" }],
    ['<14>Nov 22 10:00:00 {"level":"error","msg":"x"}', 400, { time: T, message: "x" }],
    ["<13>Nov 22 10:00:00 2026 h app: x", 250, { host: "h", app: "app", time: T }],
    ["<37>Nov 22 10:00:00 Message forwarded from aix1: sshd[7]: x", 250, { host: "aix1", app: "sshd", message: "x" }],
    [
      "<189>7: RP/0/RSP0/CPU0:Nov 22 10:00:00.123 : config[65]: %MGBL-SYS-5-CONFIG_I : x",
      250,
      { time: MS, app: "config", message: "%MGBL-SYS-5-CONFIG_I : x" },
    ],
    [
      "<189>7: xr1 RP/0/RSP0/CPU0:Nov 22 10:00:00.123 UTC: config[65]: x",
      250,
      {
        ...{ time: MS, host: "xr1", app: "config", message: "x" },
        attributes: { facility: "local7", procid: "65", sequence: "7", node: "RP/0/RSP0/CPU0" },
      },
    ],
    ["<134>Nov 22 10:00:00 bigip info tmm1[7]: x", 200, { host: "bigip", app: "tmm1", message: "x" }],
    ["Nov 22 10:00:00 bigip err mcpd[7]: x", 400, { host: "bigip", app: "mcpd", message: "x" }],
    ["<14>Nov 22 10:00:00 h info desk: x", 200, { host: "h", app: undefined, message: "info desk: x" }],
    [
      "<30>Nov 22 10:00:00 UAP f09fc2000000,UAP-AC-Pro-6.0.14+13: hostapd[7]: x",
      200,
      {
        ...{ host: "UAP", app: "hostapd", message: "x" },
        attributes: { facility: "daemon", procid: "7", device: "f09fc2000000,UAP-AC-Pro-6.0.14+13" },
      },
    ],
    [
      "<30>Nov 22 10:00:00 f09fc2000000,U6-Lite-6.0.14+13: kernel: x",
      200,
      { host: "f09fc2000000,U6-Lite-6.0.14+13", app: "kernel", message: "x" },
    ],
  ],
  "dates of common daemons": [
    ["[Sun Nov 22 10:00:00 2026] [core:error] x", 400, { time: T }],
    [
      "[Sun Nov 22 10:00:00.123456 2026] [mpm_event:notice] [pid 7:tid 8] AH00489: x",
      250,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    [
      "[Sun Dec 04 04:47:44 2005] [notice] workerEnv.init() ok /etc/httpd/conf/workers2.properties",
      250,
      { time: "2005-12-04T04:47:44Z" },
    ],
    ["20-Nov-2026 10:00:00.1 SEVERE [m] x", 400, { time: "2026-11-20T10:00:00.1Z" }],
    [
      "22-Nov-2026 10:00:00.123 INFO [main] org.apache.catalina.startup.Catalina.start Server startup in 7 ms",
      200,
      { time: MS },
    ],
    ["22-Nov-2026 10:00:00.123 general: error: x", 400, { time: MS }],
    ["[22-Nov-2026 10:00:00 UTC] PHP Fatal error:  x", 600, { time: T }],
    ["[22-Nov-2026 11:00:00 Europe/Berlin] PHP Warning:  x", 300, { time: T }],
    ["[22-Nov-2026 10:00:00] NOTICE: fpm is running, pid 1", 250, { time: T }],
    ["26/11/22 10:00:00 WARN x", 300, { time: T }],
    [
      "17/06/09 20:10:40 INFO executor.CoarseGrainedExecutorBackend: Registered signal handlers",
      200,
      { time: "2017-06-09T20:10:40Z" },
    ],
    ["22/11/26 10:00:00 WARN x", 300, { time: NONE }],
    ["1:M 22 Nov 2026 10:00:00.1 # x", 300, { time: T1 }],
    ["1:M 22 Nov 2026 10:00:00.123 * Ready to accept connections", 250, { time: MS }],
    ["[7] 22 Nov 10:00:00.123 # Server started, Redis version 3.0.7", 300, { time: MS }],
    ['192.0.2.7 - - [22/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 612', 200, { time: T }],
    ['2001:db8::1 - bob [22/Nov/2026:11:00:00 +0100] "GET /error HTTP/1.1" 500 612', 200, { time: T }],
    ['web.example.org - - [22/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 612', 200, { time: T }],
    ['127.0.0.1 - - [22/Nov/2026 10:00:00] "GET / HTTP/1.1" 200 -', 200, { time: T }],
    ['[22/Nov/2026 10:00:00] "GET / HTTP/1.1" 200 612', 200, { time: T }],
    ["22.11.2026 10:00:00 ERROR x", 400, { time: T }],
    ["22.11.2026, 10:00:00 ERROR x", 400, { time: T }],
    ["11-17 16:13:38.811  1702  2395 E Tag: x", 400, { time: "2026-11-17T16:13:38.811Z" }],
    [
      "11-17 16:13:38.811  1702  2395 D WindowManager: printFreezingDisplayLogsopening app",
      100,
      { time: "2026-11-17T16:13:38.811Z" },
    ],
    ["2026-11-17 16:13:38.811  1702  2395 W wpa_supplicant: x", 300, { time: "2026-11-17T16:13:38.811Z" }],
    ["2026-11-22 10:00:00,123:WARN:x", 300, { time: MS }],
    ["2026-11-22 10:00:00.123:INFO:oejs.Server:main: x", 200, { time: MS }],
    ["[2026-11-22 10:00:00,123: ERROR/MainProcess] x", 400, { time: MS }],
    ["[2026-11-22 10:00:00,123: WARNING/ForkPoolWorker-1] x", 300, { time: MS }],
    ["Nov 22, 2026 10:00:00 AM com.example.Shop sell", 200, { time: T }],
    ["Sun Nov 22 10:00:00 2026 us=123 x", 200, { time: T }],
    ["Sun, 22 Nov 2026 10:00:00 GMT x", 200, { time: T }],
    ["Sun Nov 22 2026 11:00:00 GMT+0100 (Central European Standard Time) x", 200, { time: T }],
    ["261122 10:00:00 [ERROR] x", 400, { time: T }],
    ["[E 261122 10:00:00 web:7] x", 400, { time: T }],
    ["[W 2026-11-22 10:00:00.123 ServerApp] x", 300, { time: MS }],
    ["I261122 10:00:00.123456 1 server/x.go:1 ⋮ [n1] 1  x", 200, { time: "2026-11-22T10:00:00.123456Z" }],
    [
      "081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block terminating",
      200,
      { time: "2008-11-09T20:36:15Z" },
    ],
    ["20171223-22:15:29:606|Step_LSC|30002312|onStandStepChanged 3579", 200, { time: "2017-12-23T22:15:29.606Z" }],
    ["2026.11.22 10:00:00 WARN  web[][o.s.s.p.Server] x", 300, { time: T }],
    ["2026/11/22 10:00:00 [error] 12#12: *1 x", 400, { time: T }],
    ["2026/11/22-10:00:00.123456 7f3c x", 200, { time: "2026-11-22T10:00:00.123456Z" }],
    ["2026-11-22_10:00:00.12345 x", 200, { time: "2026-11-22T10:00:00.12345Z" }],
    ["11/22/2026-10:00:00.123456  [**] [1:2:3] x", 200, { time: "2026-11-22T10:00:00.123456Z" }],
    ["11/22/2026, 10:00:00 AM - ERROR - x", 400, { time: T }],
    ["1795341600.123    45 192.0.2.1 TCP_MISS/200 1024 GET http://x/ - DIRECT/192.0.2.2 text/html", 200, { time: MS }],
    ["[1795341600] SERVICE ALERT: x", 200, { time: T }],
    ["[1795341600] unbound[1:0] error: x", 400, { time: T }],
    ["1795341600: New connection from 192.0.2.1 on port 1883.", 200, { time: T }],
    ["[ERROR] [1795341600.123]: x", 400, { time: MS }],
    ["   2026/11/22 10:00:00 [ERR] x", 400, { time: T }],
    ["INFO  [2026-11-22 10:00:00,123] com.example.Shop: x", 200, { time: MS }],
    ["INFO 2026-11-22 10:00:00,123 shop 1 2 x", 200, { time: MS }],
    ["[WARN] 2026-11-22 10:00:00 x", 300, { time: T }],
    ["ERROR: 2026/11/22 10:00:00 main.go:7: x", 400, { time: T }],
    ["ERROR [main] 2026-11-22 10:00:00,123 CassandraDaemon.java:7 - x", 400, { time: MS }],
    ["WARN[2026-11-22T10:00:00Z] x", 300, { time: T }],
    ["2026-11-22 10:00 x", 200, { time: T }],
    ["20261122T100000Z x", 200, { time: T }],
    ['[2026-11-22T10:00:00.123456+00:00] app.ERROR: x {"a":1} []', 400, { time: "2026-11-22T10:00:00.123456Z" }],
    ["F, [2026-11-22T10:00:00.123456 #7] FATAL -- : x", 600, { time: "2026-11-22T10:00:00.123456Z" }],
  ],
  "dates of common daemons, once more": [
    ["22-11-2026 10:00:00 ERROR x", 400, { time: T }],
    ["05-11-2026 10:00:00 ERROR x", 400, { time: NONE }],
    ["Sun 2026-11-22 10:00:00 UTC h systemd[7]: x", 200, { time: T, host: "h", app: "systemd", message: "x" }],
    ["1795341600.123456 h systemd[7]: x", 200, { time: "2026-11-22T10:00:00.123456Z", host: "h", app: "systemd" }],
    ["2026-11-22T10:00:00,123456+00:00 kernel: x", 200, { time: "2026-11-22T10:00:00.123456Z", app: "kernel" }],
    ["Sun 22 Nov 10:00:00 UTC 2026 x", 200, { time: T }],
    ['example.org:80 192.0.2.1 - - [22/Nov/2026:11:00:00 +0100] "GET /" 200 1', 200, { time: T }],
    ["2026-11-22 10:00:00.123456: W tensorflow/core/x.cc:7] y", 300, { time: "2026-11-22T10:00:00.123456Z" }],
    ["W/Tag     (  7): x", 300],
    ["2026-11-22T10:00:00:123456Z ERROR x", 200, { time: NONE }],
    ["2026-11-22 10:00:00+01:e x", 200, { time: NONE }],
    ["<14>1 - x", 200, { message: "1 - x" }],
    ["<14>1 2026-11-22T10:00:00Z - - x", 200, { time: T, host: undefined, app: undefined, message: "x" }],
    ["<14>Nov 22 10:00:00 10.0.0.1: x", 200, { host: "10.0.0.1", message: "x" }],
    ["[7] production.CRITICAL: x", 500],
    ["[Nest] 7  - 11/22/2026, 10:00:00 AM   ERROR [ExceptionsHandler] x", 400, { time: T }],
    ["[Nest] 7  - 22.11.2026, 10:00:00     LOG [NestFactory] x", 200, { time: T }],
    ["[Nest] 7  - 11/12/2026, 10:00:00 AM    WARN [Router] x", 300, { time: NONE }],
    ['[GIN] 2026/11/22 - 10:00:00 | 200 |     1.2ms |       127.0.0.1 | GET      "/"', 200, { time: T }],
    ["[shop.cart] 2026-11-22 10:00:00 x", 200, { time: T }],
    ["<Nov 22, 2026 10:00:00 AM UTC> <Error> <Security> <BEA-090870> <x>", 400, { time: T }],
    ["####<Nov 22, 2026 10:00:00 AM UTC> <Notice> <Security> <h> <x>", 250, { time: T }],
    ["(2026-11-22 10:00:00) ERROR x", 400, { time: T }],
    ["*Nov 22 10:00:00.123: %LINK-3-UPDOWN: Interface Gi0/1, changed state to up", 400, { time: MS }],
    ["000123: .Nov 22 10:00:00.123 UTC: %SYS-5-CONFIG_I: x", 250, { time: MS }],
    ["[11/22/26 10:00:00:123 UTC] 00000001 Foo           E   CODE0001E: x", 400, { time: MS }],
    ["[11/22/26, 11:00:00:123 CET] 00000001 SystemOut     O x", 200, { time: MS }],
    ["[11/10/26 10:00:00:123 UTC] 00000001 SystemOut     O x", 200, { time: NONE }],
    ["22.11.26 10:00:00 ERROR x", 400, { time: T }],
    ["22-Nov-26 10:00:00 - x", 200, { time: T }],
    ["2026-11-22\t10:00:00\tFRA2\t1045619\t192.0.2.1\tGET", 200, { time: T }],
    ["20261122 100000 ERROR x", 400, { time: T }],
    ["20261122-100000 ERROR x", 400, { time: T }],
    ["  7:20261122:100000.123 server #0 started", 200, { time: MS }],
    ["[2026.11.22-10.00.00:123][  0]LogTemp: Error: x", 400, { time: MS }],
    ["[#|2026-11-22T10:00:00.123+0000|SEVERE|Payara 5|x|_ThreadID=1;|y|#]", 400, { time: MS }],
    ["=ERROR REPORT==== 22-Nov-2026::10:00:00 ===", 400, { time: T }],
    [
      "[pid: 7|app: 0|req: 1/2] 192.0.2.1 () {44 vars in 1322 bytes} [Sun Nov 22 10:00:00 2026] GET /x",
      200,
      { time: T },
    ],
    ["INFO   | jvm 1    | 2026/11/22 10:00:00 | x", 200, { time: T }],
    ["ERROR  |zellij_client   | 2026-11-22 10:00:00.123 [main      ] [lib.rs:179]: x", 400, { time: MS }],
    ["(Sun Nov 22 10:00:00:123000 2026) [sssd] [sss_ini] (0x0020): x", 200, { time: MS }],
    ["(2026-11-22  9:00:00): [be[ipa]] [sysdb_add_user] (0x0040): x", 200, { time: "2026-11-22T09:00:00Z" }],
    ["Sun 22 Nov 2026 10:00:00 AM UTC x", 200, { time: T }],
    ["L 11/22/2026 - 10:00:00: World triggered", 200, { time: T }],
    ["E [22/Nov/2026:10:00:00 +0000] x", 400, { time: T }],
    ["(W) 2026-11-22T10:00:00 - x", 300, { time: T }],
    ["@400000006b1000000754d4c0 x", 200, { time: NONE }],
    ["2026-11-22T10:00:00.123Z 2026-11-22 09:59:59,000 ERROR x", 400, { time: MS }],
    ["2026-11-22T10:00:00.123Z E1122 10:00:00.000000       7 a.go:7] x", 400, { time: MS }],
    ["2026-11-22T10:00:00.123Z 1:M 22 Nov 2026 10:00:00.000 # x", 300, { time: MS }],
    ["22 November 2026 10:00:00.123 ERROR x", 400, { time: MS }],
    ["November 22, 2026 10:00:00 AM com.example.Shop sell", 200, { time: T }],
    ["November 22, 2026 at 10:00:00 AM UTC x", 200, { time: T }],
    ["September 22 2026 10:00:00 [error] x", 400, { time: "2026-09-22T10:00:00Z" }],
    ["August  5 10:00:00 x", 200, { time: "2026-08-05T10:00:00Z" }],
    ["[22/November/2026:10:00:00 +0000] x", 200, { time: T }],
    ["Sunday, 22 November 2026 10:00:00 x", 200, { time: T }],
    ["Sunday, November 22, 2026 10:00:00 AM x", 200, { time: T }],
    ['{"msg":"x","time":"November 22, 2026 10:00:00 AM"}', 200, { time: T, message: "x" }],
    ["Novel 22, 2026 10:00:00 AM x", 200, { time: NONE }],
    ["Sundays, 22 November 2026 10:00:00 x", 200, { time: NONE }],
    ["November 22 items at 10:00:00", 200, { time: NONE }],
  ],
  "where a level stands": [
    ["2026-11-22 10:00:00|ERROR|a|x", 400, { time: T }],
    ["2026-11-22 10:00:00.1234|WARN|Shop.Cart|x", 300, { time: "2026-11-22T10:00:00.1234Z" }],
    ["2026-11-22 10:00:00;ERROR;a;x", 400, { time: T }],
    ["2026-11-22 10:00:00,ERROR,a,x", 400, { time: T }],
    ["2026-11-22 10:00:00\tERROR\ta\tx", 400, { time: T }],
    ["2026-11-22 10:00:00 (ERROR) x", 400, { time: T }],
    ["2026-11-22 10:00:00 <error> x", 400, { time: T }],
    ["(ERROR) x", 400],
    ["[ warn] x", 300],
    ["[ ERROR ] x", 400],
    ["[error] x", 400],
    ["2026-11-22T10:00:00Z error a: x", 400, { time: T }],
    ["2026-11-22T10:00:00Z warn  x", 300, { time: T }],
    ["2026-11-22T10:00:00.123Z [error    ] x   key=value", 400, { time: MS }],
    ["10:00:00.1 request_id=a [error] x", 400],
    ["[2026-11-22T10:00:00Z] {a.py:1} ERROR - x", 400, { time: T }],
    ["[2026-11-22 10:00:00,123] {taskinstance.py:7} WARNING - x", 300, { time: MS }],
    ["fatal error: all goroutines are asleep - deadlock!", 600],
    ["[core:trace3] x", 100],
    ["2026-11-22 10:00:00 UTC [7] DEBUG2:  x", 100, { time: T }],
    ["TypeError: Cannot read properties of undefined (reading 'x')", 400],
    ["java.lang.IllegalStateException: x", 400],
    ["java.lang.NullPointerException", 400],
    ["Caused by: java.io.IOException: x", 400],
    ["Uncaught ReferenceError: x is not defined", 400],
    ["Traceback (most recent call last):", 400],
    ["requests.exceptions.ConnectionError: x", 400],
    ['Exception in thread "main" java.lang.RuntimeException: x', 400],
    ["thread 'main' panicked at src/main.rs:2:5:", 600],
    ["thread 'tokio-runtime-worker' panicked at 'x', src/main.rs:2:5", 600],
    ["panic: runtime error: index out of range [1] with length 1", 600],
    ["npm ERR! code E404", 400],
    ["npm error code E404", 400],
    ["npm WARN deprecated x@1.0.0: y", 300],
    ["npm warn deprecated x@1.0.0: y", 300],
    ["ERRO[0012] x", 400],
    ["WARN[0000] x                                 key=value", 300],
    ["FATA[0012] x", 600],
    ["[E][wifi:123] x", 400],
    ["[W][WiFiGeneric.cpp:739] _eventCallback(): x", 300],
    ["E (1234) wifi: x", 400],
    ["W/System.err( 7): x", 300],
    ["E/AndroidRuntime(1702): FATAL EXCEPTION: main", 400],
    ["E: Unable to locate package x", 400],
    ["2026-11-22T10:00:00Z E! [outputs.influxdb] x", 400, { time: T }],
    ["2026-11-22 10:00:00.123456 W | etcdserver: x", 300, { time: "2026-11-22T10:00:00.123456Z" }],
    ["2026-11-22T10:00:00.123+0000 E NETWORK  [conn7] x", 400, { time: MS }],
    ["web-1  | WARNING: x", 300],
    ["[10:00:00] [Server thread/WARN]: x", 300],
    ["[10:00:00 ERROR]: x", 400],
    ["[1122/100000.123456:ERROR:gpu_init.cc(7)] x", 400],
    ["2026-11-22 10:00:00,123 root WARNING x", 300, { time: MS }],
    ["2026-11-22 10:00:00,123 main ERROR x", 400, { time: MS }],
    ["2026-11-22 10:00:00,123 shop.cart ERROR x", 400, { time: MS }],
    ["2026-11-22 10:00:00,123 fail2ban.filter         [7]: WARNING [sshd] x", 300, { time: MS }],
    ["2026-11-22 10:00:00,123 [salt.minion      :123 ][ERROR   ][7] x", 400, { time: MS }],
    ["2026-11-22T10:00:00.123Z pid=7 tid=abc class=HardJob jid=1 INFO: start", 200, { time: MS }],
    ["2026-11-22T10:00:00.123Z 7 TID-abc WARN: x", 300, { time: MS }],
    ["2026-11-22T10:00:00.123Z\t7f3c1b2a-0000-4000-8000-000000000000\tERROR\tx", 400, { time: MS }],
    ["2026-11-22T10:00:00.12+0000 [APP/PROC/WEB/0] ERR x", 400, { time: "2026-11-22T10:00:00.12Z" }],
    ["[2026-11-22 10:00:00 +0100] warning/ApiListener: x", 300, { time: "2026-11-22T09:00:00Z" }],
    ["2026/11/22 10:00:00 kid1| WARNING: x", 300, { time: T }],
    [
      "2026-11-22 10:00:00.12 spid51      Error: 18456, Severity: 14, State: 8.",
      400,
      { time: "2026-11-22T10:00:00.12Z" },
    ],
    ["2016-09-28 04:30:30, Error                 CBS    Failed to x", 400, { time: "2016-09-28T04:30:30Z" }],
    ["2026-11-22 10:00:00 UTC:192.0.2.1(1234):bob@shop:[7]:ERROR:  x", 400, { time: T }],
    ["[2026-11-22 10:00:00.123][7][error][main] [source/server/server.cc:7] x", 400, { time: MS }],
    [
      "2026-11-22T10:00:00.123456Z ERROR sink{component_id=x}: vector::sinks: y",
      400,
      { time: "2026-11-22T10:00:00.123456Z" },
    ],
    ["2026-11-22 10:00:00.123456 [ERR] mod_sofia.c:7 x", 400, { time: "2026-11-22T10:00:00.123456Z" }],
    ["[Nov 22 10:00:00] ERROR[7][C-1]: chan_sip.c:1 x: y", 400, { time: T }],
    ["2026-11-22 10:00:00,123 | INFO  | Apache ActiveMQ | x | main", 200, { time: MS }],
    ["__main__ - ERROR - x", 400],
    ["src/main.c:7:1: error: x", 400],
    ["src/main.c:7:1: warning: unused variable", 300],
    ["error[E0308]: mismatched types", 400],
    ["/usr/lib/python3/x.py:7: DeprecationWarning: y", 300],
    ["(node:7) ExperimentalWarning: x", 300],
    ["(node:7) [DEP0040] DeprecationWarning: x", 300],
    ["PHP Parse error:  syntax error, unexpected end of file in /a.php on line 7", 400],
    ["PHP Notice:  Undefined index: x in /a.php on line 7", 250],
    ["%LINK-3-UPDOWN: Interface Gi0/1, changed state to up", 400],
    ["Nov 22 10:00:00.123: %LINK-3-UPDOWN: Interface Gi0/1, changed state to up", 400, { time: MS }],
    ["[INFO/MainProcess] x", 200],
    ["[WARNING/ForkPoolWorker-1] x", 300],
    ["10:00:00,123 |-WARN in ch.qos.logback.classic.LoggerContext[default] - x", 300],
    ["[10:00:00.123] ERROR (7): x", 400],
    ["[2026-11-22 10:00:00.123 +0000] WARN (shop/7 on web-1): x", 300, { time: MS }],
    ["gcc: error: x.c: No such file or directory", 400],
    ["/usr/bin/ld: warning: x.o: missing .note.GNU-stack", 300],
    ["shop[7]: ERROR: x", 400],
    ["*** FATAL ERROR *** x", 600],
    [">> WARNING: x", 300],
    ["❌ Error: x", 400],
    ["⚠️  Warning: x", 300],
    ["2026-11-22 10:00:00 ❌ Error: x", 400],
    ["NoMethodError (undefined method `x' for nil:NilClass):", 400],
    ["Fatal Python error: Segmentation fault", 600],
    ["[22-Nov-2026 10:00:00 UTC] PHP Deprecated:  x in /a.php on line 3", 250],
    ["Error response from daemon: conflict", 400],
    ['Error from server (NotFound): pods "x" not found', 400],
    ["2026-11-22T10:00:00Z app[9d3f8a0b] iad [error]could not connect", 400],
    ["2026/11/22 10:00:00 ...s/web/routing/logger.go:102:func1() [W] router: slow", 300],
    ["2026/11/22 10:00:00 cmd/web.go:102:runWeb() [E] x", 400],
    [" WARN [main] (Cart.java:7) - x", 300],
    ["nginx: [emerg] bind() to 0.0.0.0:80 failed", 600],
    ["mysqld: [ERROR] x", 400],
    ["(process:7): GLib-GObject-WARNING **: 10:00:00.123: x", 300],
    ["(evolution:7): Gtk-CRITICAL **: 10:00:00.123: x", 500],
    ["2026-11-22 10:00:00.123456 99.00% [ERR] switch.c:7 x", 400],
    ["2026-11-22 10:00:00 *ERROR* [main] x", 400, { time: T }],
    ["2026-11-22T10:00:00.1230000Z ##[error]Process completed with exit code 1.", 400, { time: MS }],
    ["##[warning]x", 300],
    ["2026-11-22 10:00:00 ***ERROR*** x", 400, { time: T }],
    ["2026-11-22 10:00:00 warn - x", 300, { time: T }],
    ["2026-11-22T10:00:00Z | warn | x", 300, { time: T }],
    ["2026-11-22 10:00:00 warn [shop] x", 300, { time: T }],
    ["2026-11-22 10:00:00 shop[7]: ERROR x", 400, { time: T }],
    ["2026-11-22 10:00:00,123 - util.py[WARNING]: x", 300, { time: MS }],
    ["2026-11-22 10:00:00.123: main pid 7: WARNING:  x", 300, { time: MS }],
    ["2026-11-22 10:00:00 UTC [147] 192.0.2.1 a@postgres FATAL:  x", 600, { time: T }],
    ["Nov 22 10:00:00 mod_x\terror\ty", 400, { time: T }],
    ["2026-11-22T10:00:00+0000 [stdout#error] x", 400, { time: T }],
    ["[2026-11-22 10:00:00.123 +0000] E [MSGID: 1] [a.c:7:f] 0-x: y", 400, { time: MS }],
    ["[2026-11-22 10:00:00.123] W [a.c:7:f] 0-x: y", 300, { time: MS }],
    ['error [2026-11-22 10:00:00.123 Z] x caller="a"', 400, { time: MS }],
    ["2026-11-22 10:00:00,123 7 MainThread ERROR cart: x", 400, { time: MS }],
    ["Error : x", 400],
    ["<error>: x", 400],
    ["ERROR(shop): x", 400],
    ["error TS2304: Cannot find name 'x'.", 400],
    ["src/a.ts(7,1): error TS2304: x", 400],
    ["a.cs(7,1): error CS1002: x", 400],
    ["app.ERROR: x", 400],
    ["a.rb:7:in `x': undefined method `y' for nil:NilClass (NoMethodError)", 400],
    ["make[1]: *** [Makefile:7: x] Error 2", 400],
    ["Unhandled promise rejection: x", 400],
    ["terminate called after throwing an instance of 'std::runtime_error'", 600],
    ["Deprecated: x in /a.php on line 7", 250],
    ["** (RuntimeError) x", 400],
    ["(EE) x", 400],
    [" 0(7) ERROR: <core> [x]: y", 400],
    ["Nov 22 10:00:00.123 DEBG x", 100, { time: MS }],
    ['{"level":"E","msg":"x"}', 400, { message: "x" }],
    ["level=W msg=x", 300, { message: "x" }],
  ],
  "logfmt, and what is none": [
    [
      'type=CWD msg=audit(1364481363.243:24287): cwd="/"',
      200,
      { message: 'type=CWD msg=audit(1364481363.243:24287): cwd="/"', time: "2013-03-28T14:36:03.243Z" },
    ],
    [
      "node=h type=SYSCALL msg=audit(1364481363.243:24287): arch=c000003e syscall=2",
      200,
      { host: "h", time: "2013-03-28T14:36:03.243Z" },
    ],
    [
      'at=info method=GET path="/" host=x.herokuapp.com service=18ms status=200',
      200,
      {
        app: undefined,
        host: "x.herokuapp.com",
        attributes: { method: "GET", path: "/", service: "18ms", status: "200" },
      },
    ],
    [
      "level=info msg=x hostname=? app=-",
      200,
      { host: undefined, app: undefined, attributes: { hostname: "?", app: "-" } },
    ],
    [
      "IN=eth0 OUT= SRC=192.0.2.1 DST=192.0.2.2 LEN=60",
      200,
      { message: "IN=eth0 OUT= SRC=192.0.2.1 DST=192.0.2.2 LEN=60" },
    ],
    [
      'time=2026-11-22T10:00:00.123Z level=WARN source=main.go:7 msg="x y"',
      300,
      { message: "x y", time: MS, attributes: { source: "main.go:7" } },
    ],
    ['Level=Error Message="x y" HostName=h', 400, { message: "x y", host: "h" }],
    ["level=info msg=x @collector=1", 200, { message: "x", attributes: { "@@collector": "1" } }],
    [
      '{"msg":"x","@collector":{"raw":"y"},"a":1}',
      200,
      { message: "x", attributes: { "@@collector": { raw: "y" }, a: 1 } },
    ],
    ['{"msg":"x","@collector":1,"@@collector":2}', 200, { attributes: { "@@collector": 1, "@@@collector": 2 } }],
    ['{"msg":"x","\\u0040collector":1}', 200, { attributes: { "@@collector": 1 } }],
    ["level=info msg=x service=1m30s", 200, { app: undefined, attributes: { service: "1m30s" } }],
  ],
  encodings: [
    ['\ufeff{"level":"error","msg":"x"}', 400, { message: "x" }],
    ["\ufeffERROR x", 400, { message: "ERROR x" }],
    ["\ufeffx", 200, { message: "x" }],
  ],
};

/** Lines whose end is missing, as `--max-line` cut them, and what must be in their records. */
export const CUT: Sample[] = [
  ['{"level":"error","msg":"x","stack":"at a\\n  at b', 400, { message: "x", attributes: { stack: "at a\n  at b" } }],
  ['{"level":"error","msg":"x","stack":"at a\\', 400, { message: "x", attributes: { stack: "at a" } }],
  ['{"level":"error","msg":"x","stack":"at a\\u00', 400, { message: "x", attributes: { stack: "at a" } }],
  [
    '{"level":"error","msg":"x","a":{"b":[1,2,{"c":"d',
    400,
    { message: "x", attributes: { a: { b: [1, 2, { c: "d" }] } } },
  ],
  ['{"level":"error","msg":"x","a":{"b":[1,2,12', 400, { message: "x", attributes: { a: { b: [1, 2] } } }],
  ['{"level":"error","msg":"x","a":tru', 400, { message: "x", attributes: undefined }],
  ['{"level":"error","msg":"x","a"', 400, { message: "x", attributes: undefined }],
  ['{"level":"error","msg":"x","a":"b",', 400, { message: "x", attributes: { a: "b" } }],
  ['{"level":"error","msg":"x"', 400, { message: "x", attributes: undefined }],
  ['{"level":"error","msg":"x y z', 400, { message: "x y z", attributes: undefined }],
  [
    '<14>Nov 22 10:00:00 h a: {"level":"error","msg":"x","stack":"at',
    400,
    { message: "x", app: "a", attributes: { facility: "user", stack: "at" } },
  ],
  ['{"log":"{\\"level\\":\\"error\\",\\"msg\\":\\"x', 400, { message: "x", attributes: undefined }],
  ['level=error msg="x" stack="at a\\n  at b', 400, { message: "x", attributes: { stack: "at a\n  at b" } }],
  ['level=error msg="x y z', 400, { message: "x y z", attributes: undefined }],
  ["{level", 200, { message: "{level" }],
];

/** Sentences, and other lines, with words for levels in them; each stays at 200. */
export const SENTENCES = `
Error handling was improved in this release
error handling was improved in this release
Errors were found in three files
Warning lights are on at the depot
warnings are shown once a day
Found 3 errors and 2 warnings
There was no error
No errors, no warnings
0 errors, 0 warnings
12 warnings generated
An error occurred while we looked away, and it was mended
The error log was rotated
The word ERROR in capitals means nothing here
User typed ERROR into the box
Set the level to ERROR or WARN
the level is now debug, was info
debugging is on
Debug symbols were stripped
Information desk is open
information is power
info-desk is open
info about the shop was asked for
Notice how the line goes on
notices were sent to all
Fatalities: none
fatally wounded heroes live on in songs
Panic is not an option
panicked users called the hotline
Critical mass was reached
critically acclaimed film arrives
Alerts are sent by mail
alerting is set up
Emergency exits are on the left
Emergencies are handled by others
Severely limited offer
Failure is not an option
failures: 0
failed to guess, so it was not tried
Failed logins are counted
Success is a journey
Successfully stored 7 rows
tracing was turned off
Traceroute to 192.0.2.1 took 7 hops
verbosely told
Finer grains of sand
Fine words butter no parsnips
finest selection of teas
error_count is 0
error-prone code was removed
error.log was opened
errors=0 warnings=0
ERROR_CODE 12
ERRORS were many
WARNINGS were few
WARNER BROTHERS presents
INFORMATION_SCHEMA was queried
DEBUGGER attached
FATALISM is no answer
CRITICALLY few seats are left
PANICKING helps nobody
NOTICEBOARD was updated
ALERTNESS was high
retry after error in 5 s
response had error code 0
connection closed without error
exit code 0, error stream empty
build finished with warnings
we treat warnings as errors
the last error was a year ago
if an error happens, tell us
this is not an error: it is a feature
please ignore the following warning: it is old
a warning: do not open the box
x is an error: y is not
the status is error: unknown, says the page
see error: section 7 of the manual
the answer was "ERROR: not found"
it replied (ERROR) and hung up
it replied [ERROR] and hung up
GET /error HTTP/1.1
F/M0 no answer
I/O error on a disk of another
W/O a doubt
C/C++ is a language
Uncaught fish are the biggest
WARN/BROTHERS were a studio
GET /errors/warning?level=error
opened /var/log/error.log
sent mail to error@example.org
SELECT * FROM errors WHERE level = 'ERROR'
deleted from warnings where id = 7
installing error-stack-parser 2.1.4
upgraded libgpg-error0 to 1.47
mounted /dev/info at /mnt
class ErrorHandler was loaded
class Warning extends Exception
the TypeError class is documented
throw new Error is a statement
catching Exception is too broad
IndexError and KeyError are LookupErrors
Exceptions prove the rule
Exception handling costs little
my ValueError: is in the middle
Uncaughtable fish
Tracebacks are long
threads are cheap
npm installed 7 packages
PHP is a language
Parsed errors: none
fatal errors are rare
Warn the others before noon
warn your neighbours
inform the family
log the notice, then go
Errors: none, warnings: none
Level: none of the above
default settings were loaded
(see the GLib-WARNING messages below)
 error handling was improved
 Fail fast and often
    at error (/app/error.js:7:1)
note: [error-reporter] started
a default was taken
Fatal accidents are rare on this road
Success comes to those who wait
Error budget is 97 percent
Note: errors are expected here
Results: error none, warning none
job: error-free for 7 days
user bob: an error was reported
a: error free
* error handling was improved
- error handling was improved
> Error handling was improved
# Error handling
== Error handling ==
- the ERROR flag is not set
✓ no errors
✅ error handling tests passed
😀 Warning signs
→ error handling
日本語 error のテスト
日本: error のテスト
<error-boundary> mounted
<p>error</p>
<div class="error">x</div>
(no errors)
TimeoutError (see the docs) is raised
KeyError and ValueError are exceptions
errors,warnings and notes
yes,error handling works
mail,calendar sync
worker got [error] from db
app[1] got [error] from x
web.go:7:run() said error
Error(s): 0, warning(s): 0
Unhandled promise rejections are deprecated
error(s) were counted
error (see below) is old
make a list: *** stars, please
makes no difference
terminate called the meeting
Kernel sources are large
warning labels are printed in red
Fatal flaw found in the plan, says report
Alert readers will have noticed
severe storms passed by
critical thinking is taught here
retrying (error budget is left)
thread pool had 0 errors
user=bob error handling was changed
[7] error handling was changed
(bob) error handling was changed
sent 3 mails [error] 0 [warn] 1
e error x
E is for elephant
F for fail, A for success
D: drive was mounted
(E) is for echo
Error 0 was returned
echo "WARN: x" was run
12|3 errors | none
bob@example.org | error handling
app.error was renamed
main.js:7 error handling
`
  .trim()
  .split("\n");

/** Holds a line's record to its sample. */
export function assertSample(
  parser: LineParser,
  [line, level, { time, ...columns } = {}]: Sample,
  isCut: boolean,
): void {
  const record = parser.parse(line, NOW, isCut);
  const { attributes } = record;
  const given = { ...record, attributes: attributes === undefined ? undefined : (JSON.parse(attributes) as object) };
  assert.equal(record.level, level, line);
  if (time !== undefined) assert.equal(record.loggedAtUs, time === NONE ? undefined : timeAt(time), line);
  for (const [name, value] of Object.entries(columns)) assert.deepEqual(given[name as keyof LogRecord], value, line);
}
