-- Rooms, the sensors in them, and what those measured. PostgreSQL and DuckDB take it as it is.
create schema rooms;

create table rooms.rooms (
  room_name text primary key
);

create table rooms.sensors (
  sensor_name text primary key,
  sensor_type text not null check (sensor_type in ('V', 'R')), -- V: volt, R: ohm
  room_name text not null references rooms.rooms (room_name)
);

-- No key on (sensor, time): two values of one moment are two readings.
create table rooms.readings (
  sensor_name text not null references rooms.sensors (sensor_name),
  value double precision not null,
  time timestamp with time zone not null
);

create index readings_of_sensor on rooms.readings (sensor_name, time);
