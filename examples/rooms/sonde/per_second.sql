/* Question 1: the current of each room in each second, I = V / R (ampere). No V or no R, or R of 0: no current.

   An average over readings lets a sensor that talks more weigh more. Who wants every sensor to weigh the same takes the
   average of each sensor first, then the average of those. */
with seconds as (
  select zone as room, date_trunc('second', time) as second,
    avg(value) filter (where metric = 'V') as v,
    avg(value) filter (where metric = 'R') as r
  from readings
  where site = 'rooms' and metric in ('V', 'R')
  group by 1, 2
)
select room, second,
  cast(cast(v / nullif(r, 0) as decimal(18, 4)) as double precision) as i,
  cast(cast(v as decimal(18, 4)) as double precision) as v,
  cast(cast(r as decimal(18, 4)) as double precision) as r
from seconds
order by room, second
