-- For psql, in this folder: the files come from the machine where psql runs.
\copy rooms.rooms from 'rooms.csv' with (format csv, header)
\copy rooms.sensors from 'sensors.csv' with (format csv, header)
\copy rooms.readings (sensor_name, value, time) from 'readings.csv' with (format csv, header)
