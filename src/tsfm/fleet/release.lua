-- Run by haproxy: ends the requests at a host that has been out for a while, so that they are asked on another host.
--
-- haproxy's own `on-marked-down shutdown-sessions` does so at the moment when the host is taken out. Then it also ends
-- a request that is just being connected to that host, and the client's connection is closed without an answer.
-- After GRACE_MS none is being connected any more: it is longer than `timeout connect`, and a host that is out gets none.

local PAUSE_MS, GRACE_MS = 100, 400

core.register_task(function()
    local out_ms = {}
    while true do
        core.msleep(PAUSE_MS)
        for _, backend in pairs(core.backends) do
            for name, server in pairs(backend.servers) do
                local key, stats = backend.name .. "/" .. name, server:get_stats()
                out_ms[key] = stats.status == "DOWN" and (out_ms[key] or 0) + PAUSE_MS or nil
                if out_ms[key] and out_ms[key] > GRACE_MS and stats.scur > 0 then
                    server:shut_sess()
                end
            end
        end
    end
end)
