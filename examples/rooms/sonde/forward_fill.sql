/* Question 2: for each room and second that has a V, the same, with R of the latest second up to it that has one.

   An average over readings lets a sensor that talks more weigh more, as in question 1. Seconds are numbered by how many
   with an R came up to them; those of one number share the R of the first of them. */
with seconds as (
  select zone as room, date_trunc('second', time) as second,
    avg(value) filter (where metric = 'V') as v,
    avg(value) filter (where metric = 'R') as r
  from readings
  where site = 'rooms' and metric in ('V', 'R')
  group by 1, 2
),
numbered as (
  select *, count(r) over (partition by room order by second) as number from seconds
),
filled as (
  select room, second, v, max(r) over (partition by room, number) as r from numbered
)
select room, second,
  cast(cast(v / nullif(r, 0) as decimal(18, 4)) as double precision) as i,
  cast(cast(v as decimal(18, 4)) as double precision) as v,
  cast(cast(r as decimal(18, 4)) as double precision) as r
from filled
where v is not null
order by room, second
