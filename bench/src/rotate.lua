-- One request per target in turn. Arguments: a file of targets (`path` or `path token` a line),
-- the method, a run's name of eight characters and, for requests with a body, what stands in it
-- before and after a name that is never used twice.

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local NAME = "%s-%02d-%09d"
local ready, prefix, suffix, run
local turn, sent = 0, 0

function init(args)
  local method = args[2]
  run, prefix, suffix = args[3], args[4], args[5]
  ready = {}
  for line in io.lines(args[1]) do
    local path, token = line:match("^(%S+) ?(%S*)$")
    local headers = {}
    if token ~= "" then headers["Authorization"] = "Bearer " .. token end
    if not prefix then
      ready[#ready + 1] = wrk.format(method, path, headers)
    else
      -- All bodies have the same length, which wrk states when it is given one to count.
      local body = prefix .. NAME:format(run, number, 0) .. suffix
      headers["Content-Type"] = "application/json"
      ready[#ready + 1] = wrk.format(method, path, headers, body):sub(1, -#body - 1)
    end
  end
  -- Threads begin at different targets.
  turn = (number * 31) % #ready
end

function request()
  turn = turn % #ready + 1
  if not prefix then return ready[turn] end
  sent = sent + 1
  return ready[turn] .. prefix .. NAME:format(run, number, sent) .. suffix
end
