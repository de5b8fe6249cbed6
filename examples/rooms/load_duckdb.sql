-- For DuckDB, in this folder.
copy rooms.rooms from 'rooms.csv' (header);
copy rooms.sensors from 'sensors.csv' (header);
copy rooms.readings (sensor_name, value, time) from 'readings.csv' (header);
