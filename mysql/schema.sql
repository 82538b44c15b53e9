-- The collector's tables on MySQL 8.0.16 or newer, or MariaDB 10.3 or newer; running it again changes nothing.
-- The collector applies it where a table is missing; `mysql < schema.sql` does the same. Times are UTC, whatever the time zone.

create table if not exists logs (
  created_at datetime(6) not null comment 'when the line was received; orders the lines of one collector',
  id         bigint unsigned not null default (uuid_short()) comment 'tells apart the lines of one microsecond',
  level      smallint not null default 200 comment '100 debug … 600 emergency (the scale of Monolog)',
  message    longtext not null,
  logged_at  datetime(6) comment 'time, host and name that the sender itself gives',
  host       longtext,
  app        longtext,
  peer       longtext comment 'the address that the line came from',
  attributes longtext comment 'what else the line carried, as the text of a JSON object: json_value(attributes, ''$.user'')',
  primary key (created_at, id)
) engine = InnoDB character set utf8mb4 collate utf8mb4_bin
  partition by range columns (created_at) (partition future values less than (maxvalue));

-- Which journal entries are stored: the key to exactly-once. The collector prunes the keys that it no longer needs.
create table if not exists log_entries (
  journal      binary(16) not null,
  position     bigint not null,
  stored_at    datetime(6) not null default (utc_timestamp(6)),
  stored_lines int comment 'how many are stored so far, while it is stored line by line; null for all',
  primary key (journal, position)
) engine = InnoDB;

-- Days that were over when lines of them were stored, after an outage or by a clock that was behind. Retention goes by the
-- later of received and stored: until stored_at is old enough, such a day stays.
create table if not exists late_days (
  day       date not null primary key,
  stored_at datetime(6) not null default (utc_timestamp(6))
) engine = InnoDB;

-- Lines that this database refuses for their content: for a check, a trigger or a column type of yours.
create table if not exists dead_letters (
  id         bigint not null auto_increment primary key,
  created_at datetime(6) not null comment 'when the line was received, as it would be in logs',
  peer       longtext,
  line       longblob not null comment 'the bytes of the line as they came',
  cut_from   bigint comment 'its size in bytes where it was too long, and cut',
  `sqlstate` varchar(16) not null comment 'the SQLSTATE and the error number of the server',
  error      text not null,
  refused_at datetime(6) not null default (utc_timestamp(6))
) engine = InnoDB character set utf8mb4 collate utf8mb4_bin;
