/* config: settings from options and from a file. */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "leat.h"
#include "leatd/config.h"

static struct lt_config config;

static const char *file_with(const char *text)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/leatd.conf", test_dir());
    FILE *file = fopen(path, "w");
    CHECK(file);
    CHECK(fputs(text, file) >= 0);
    CHECK_EQ(fclose(file), 0);
    return path;
}

TEST(every_setting_has_a_default_inside_its_own_limits)
{
    size_t count;
    const struct lt_setting *settings = lt_config_settings(&count);
    lt_config_init(&config);
    for (size_t i = 0; i < count; i++) {
        uint32_t value;
        memcpy(&value, (const char *)&config + settings[i].at, sizeof value);
        if (strstr(settings[i].value, "SIZE") || strstr(settings[i].value, "none"))
            continue;
        if (value < settings[i].min || value > settings[i].max)
            FAIL("%s is %u by default", settings[i].name, value);
    }
    CHECK_EQ(config.max_clients, 1000);
    CHECK_EQ(config.stall_limit_ms, 100);
    CHECK_EQ(config.ring_size, 4 << 20);
    CHECK(config.max_memory > config.max_memory_per_uid);
}

TEST(sizes_have_units)
{
    uint64_t size;
    CHECK_EQ(lt_config_size("4096", &size), 0);
    CHECK_EQ(size, 4096);
    CHECK_EQ(lt_config_size("64k", &size), 0);
    CHECK_EQ(size, 65536);
    CHECK_EQ(lt_config_size("4MiB", &size), 0);
    CHECK_EQ(size, 4 << 20);
    CHECK_EQ(lt_config_size("1G", &size), 0);
    CHECK_EQ(size, 1 << 30);
    CHECK_EQ(lt_config_size("4MB", &size), LEAT_EINVAL);
    CHECK_EQ(lt_config_size("-1", &size), LEAT_EINVAL);
    CHECK_EQ(lt_config_size("", &size), LEAT_EINVAL);
    CHECK_EQ(lt_config_size("99999999999999TiB", &size), LEAT_EINVAL);
    CHECK_EQ(lt_config_size("99999999999999999999999", &size), LEAT_EINVAL);
}

TEST(value_is_checked_against_its_kind_and_its_limits)
{
    lt_config_init(&config);
    CHECK_EQ(lt_config_set(&config, "max-clients", "7"), 0);
    CHECK_EQ(config.max_clients, 7);
    CHECK_EQ(lt_config_set(&config, "max-clients", "0"), LEAT_EINVAL);
    CHECK_EQ(lt_config_set(&config, "max-clients", "1024"), LEAT_EINVAL);
    CHECK(strstr(lt_fail_text(), "1023"));
    CHECK_EQ(lt_config_set(&config, "max-clients", "7x"), LEAT_EINVAL);
    CHECK_EQ(lt_config_set(&config, "max-clients", "4294967303"), LEAT_EINVAL);
    CHECK_EQ(config.max_clients, 7);
    CHECK_EQ(lt_config_set(&config, "mode", "0640"), 0);
    CHECK_EQ(config.mode, 0640);
    CHECK_EQ(lt_config_set(&config, "mode", "8"), LEAT_EINVAL);
    CHECK_EQ(lt_config_set(&config, "on-full", "error"), 0);
    CHECK_EQ(config.on_full, LEAT_ERROR);
    CHECK_EQ(lt_config_set(&config, "on-full", "explode"), LEAT_EINVAL);
    CHECK_EQ(lt_config_set(&config, "partitioner", "murmur2"), 0);
    CHECK_EQ(config.partitioner, LEAT_MURMUR2);
    CHECK_EQ(lt_config_set(&config, "partitioner", "topic"), LEAT_EINVAL);
    CHECK_EQ(lt_config_set(&config, "auto-create", "yes"), 0);
    CHECK_EQ(config.auto_create, 1);
    CHECK_EQ(lt_config_set(&config, "max-memory", "3GiB"), 0);
    CHECK_EQ(config.max_memory, 3ull << 30);
    CHECK_EQ(lt_config_set(&config, "level", "durable"), 0);
    CHECK_EQ(config.level, LEAT_DURABLE);
    CHECK_EQ(lt_config_set(&config, "log", "yes"), 0);
    CHECK_EQ(config.log, 1);
    CHECK_EQ(lt_config_set(&config, "segment-bytes", "1MiB"), 0);
    CHECK_EQ(config.segment_bytes, 1 << 20);
    CHECK_EQ(lt_config_set(&config, "segment-bytes", "none"), LEAT_EINVAL);
    CHECK_EQ(lt_config_set(&config, "segment-bytes", "1"), LEAT_EINVAL);
    CHECK_EQ(lt_config_set(&config, "no-such-thing", "1"), LEAT_EINVAL);
    CHECK(strstr(lt_fail_text(), "no-such-thing"));
}

TEST(retention_has_a_number_or_no_end)
{
    lt_config_init(&config);
    CHECK_EQ(config.retention_bytes, UINT64_MAX);
    CHECK_EQ(config.retention_ms, -1);
    CHECK_EQ(lt_config_set(&config, "retention-bytes", "1GiB"), 0);
    CHECK_EQ(config.retention_bytes, 1ull << 30);
    CHECK_EQ(lt_config_set(&config, "retention-bytes", "none"), 0);
    CHECK_EQ(config.retention_bytes, UINT64_MAX);
    CHECK_EQ(lt_config_set(&config, "retention-ms", "86400000"), 0);
    CHECK_EQ(config.retention_ms, 86400000);
    CHECK_EQ(lt_config_set(&config, "retention-ms", "none"), 0);
    CHECK_EQ(config.retention_ms, -1);
    CHECK_EQ(lt_config_set(&config, "retention-ms", "-1"), LEAT_EINVAL);
}

TEST(file_has_a_setting_a_line_and_comments)
{
    lt_config_init(&config);
    CHECK_EQ(lt_config_read(&config, file_with("# a bus\n"
                                               "\n"
                                               "max-clients = 12   # few\n"
                                               "  ring-size=128KiB\n"
                                               "on-full =\toverwrite")),
             0);
    CHECK_EQ(config.max_clients, 12);
    CHECK_EQ(config.ring_size, 128 << 10);
    CHECK_EQ(config.on_full, LEAT_OVERWRITE);
}

TEST(line_that_makes_no_sense_is_named)
{
    lt_config_init(&config);
    CHECK_EQ(lt_config_read(&config, file_with("max-clients = 12\nmax-clients\n")), LEAT_EINVAL);
    CHECK(strstr(lt_fail_text(), "leatd.conf:2:"));
    CHECK_EQ(lt_config_read(&config, file_with("\n\nring-size = 1\n")), LEAT_EINVAL);
    CHECK(strstr(lt_fail_text(), "leatd.conf:3: ring-size"));
    char text[3000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    CHECK_EQ(lt_config_read(&config, file_with(text)), LEAT_EINVAL);
    CHECK(lt_config_read(&config, "/no/such/file") < 0);
}
