/* Question 1: the current of each room in each second, I = V / R (ampere). No V or no R, or R of 0: no current.

   An average over readings lets a sensor that talks more weigh more. Who wants every sensor to weigh the same takes the
   average of each sensor first, then the average of those. */
with seconds as (
  select room_name as room, date_trunc('second', time) as second,
    avg(value) filter (where sensor_type = 'V') as v,
    avg(value) filter (where sensor_type = 'R') as r
  from rooms.readings join rooms.sensors using (sensor_name)
  group by 1, 2
)
select room, second,
  cast(cast(v / nullif(r, 0) as decimal(18, 4)) as double precision) as i,
  cast(cast(v as decimal(18, 4)) as double precision) as v,
  cast(cast(r as decimal(18, 4)) as double precision) as r
from seconds
order by room, second;
