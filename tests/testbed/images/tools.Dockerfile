FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends apache2-utils curl dnsutils iperf3 iputils-ping nginx wrk
COPY tools.nginx.conf /etc/nginx/nginx.conf
CMD ["nginx", "-g", "daemon off;"]
